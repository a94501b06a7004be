"""What one request asks for: resource, name, subresource, options; and how answers are written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web

from clusters.sandbox import protobuf
from clusters.sandbox.errors import ApiError, BadRequest
from clusters.sandbox.kinds import Kind
from clusters.sandbox.objects import Object
from clusters.sandbox.rbac import User


@dataclass(slots=True)
class Call:
    """One request on a resource. `namespace` is None at cluster scope and for "all namespaces"."""

    request: web.BaseRequest
    kind: Kind
    version: str
    namespace: str | None
    name: str | None
    subresource: str
    rest: str  # what follows the subresource: the path of a proxy
    user: User
    warnings: list[str] = field(default_factory=list)

    def option(self, name: str) -> str:
        """A query parameter, "" when absent."""
        return self.request.query.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean query parameter, as Kubernetes reads it."""
        return self.request.query.get(name, "").lower() in ("1", "true")

    @property
    def shown_as(self) -> str:
        """The apiVersion of what is answered; "" for that of the store."""
        return f"{self.kind.group}/{self.version}" if self.kind.custom else ""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written."""
        wanted = self.request.query.getall("dryRun", [])
        if any(value not in ("All", "") for value in wanted):
            raise ApiError(422, "Invalid", f'invalid dry run: Unsupported value: "{wanted[0]}"')
        return "All" in wanted

    @property
    def manager(self) -> str:
        """Who writes: fieldManager, or the first word of the user agent."""
        agent = self.request.headers.get("User-Agent", "") or "unknown"
        return self.option("fieldManager") or agent.partition("/")[0]

    async def body(self, *, required: bool = True) -> Any:
        """The JSON or YAML sent, whatever the Content-Type says (some clients send none)."""
        raw = await self.request.read()
        if not raw.strip():
            if required:
                raise BadRequest("the body of the request was empty")
            return None
        if "protobuf" in self.request.content_type:
            return protobuf.decode(raw)
        try:
            return json.loads(raw)
        except ValueError as error:
            try:
                return yaml.safe_load(raw)
            except yaml.YAMLError:
                raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from error


def answer(data: bytes | Object, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A JSON answer, with the warnings that kubectl prints."""
    raw = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    response = web.Response(body=raw, status=code, content_type="application/json")
    for warning in warnings or ():
        response.headers.add("Warning", f'299 - "{warning.replace(chr(34), chr(92) + chr(34))}"')
    return response
