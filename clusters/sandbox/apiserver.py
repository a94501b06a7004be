"""The HTTP side: which request means what. Everything it does is elsewhere."""

from __future__ import annotations

import dataclasses
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from clusters.sandbox import discovery, eviction, exec, rbac, reviews, streams, subresources, watching
from clusters.sandbox.auth import Door
from clusters.sandbox.call import Call, answer
from clusters.sandbox.errors import ApiError
from clusters.sandbox.kinds import Kind
from clusters.sandbox.rbac import User
from clusters.sandbox.reading import Reading
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Store
from clusters.sandbox.verbs import Verbs

log = logging.getLogger(__name__)

_API = re.compile(r"/(?:api/(?P<core>[^/]+)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))(?P<rest>/.*)?")
_NOT_ALLOWED = "the server does not allow this method on the requested resource"
_NO_SUCH = "the server could not find the requested resource"
_HEALTH = ("/healthz", "/livez", "/readyz")
_BODY_LIMIT = 3 * 1024 * 1024  # as etcd's and the real server's
INTERNAL_AGENT = "bulletproof-sandbox"  # requests of the sandbox's own processes keep nobody awake


class ApiServer:
    """Answers HTTPS requests on the API's address."""

    def __init__(self, store: Store, settings: Settings, door: Door) -> None:
        self._store, self._settings, self._door = store, settings, door
        self._rights = rbac.Rights(store)
        self._reading = Reading(store)
        self._verbs = Verbs(store, self._rights)
        self.kubelet: streams.Kubelet | None = None  # set once the nodes are there
        self.ready = False
        self.last_request = time.monotonic()  # of somebody outside
        self.open_requests = 0
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self, tls: ssl.SSLContext) -> None:
        """Listens; returns when connections are accepted."""
        server = web.Server(self._handle, access_log=None, keepalive_timeout=300.0, request_factory=_request)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=10), auto_decompress=False
        )
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        settings = self._settings
        await web.TCPSite(
            self._runner, settings.api_address, settings.port, ssl_context=tls, shutdown_timeout=0.1
        ).start()

    async def stop(self) -> None:
        """Closes the listener and every connection, watches too."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        outside = not request.headers.get("User-Agent", "").startswith(INTERNAL_AGENT)
        if outside:
            self.open_requests += 1
        try:
            return await self._route(request)
        except ApiError as error:
            response = answer(error.status(), error.code)
            if error.code == 429:
                response.headers["Retry-After"] = str((error.details or {}).get("retryAfterSeconds", 1))
            return response
        except ConnectionError:
            raise
        except web.HTTPRequestEntityTooLarge:
            return answer(ApiError(413, "RequestEntityTooLarge", "Request entity too large").status(), 413)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            said = f"Internal error occurred: {type(error).__name__}: {error}"
            return answer(ApiError(500, "InternalError", said).status(), 500)
        finally:
            if outside:
                self.open_requests -= 1
                self.last_request = time.monotonic()

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        user = rbac.impersonated(self._door.user(request), request.headers, self._rights)
        path = request.path
        match = _API.fullmatch(path.rstrip("/") or "/")
        if match is None or not match["rest"]:
            self._rights.check(user, rbac.Act(verb=request.method.lower(), path=path))
            return self._document(request, path.rstrip("/") or "/")
        group = match["group"] or ""
        version = match["core"] or match["version"]
        raw = _API.fullmatch(request.rel_url.raw_path)
        parts = [unquote(part) for part in ((raw["rest"] if raw else None) or match["rest"])[1:].split("/")]
        if rbac.MASTERS not in user.groups:
            act = rbac.act_of(request.method, request.query, group, parts)
            self._rights.check(user, act)
            if act.subresource in ("exec", "attach") and act.verb == "get":  # a websocket opens with GET
                self._rights.check(user, dataclasses.replace(act, verb="create"))
        call = self._call(request, user, group, version, parts)
        if call is None:
            return await self._review(request, user, group, version, parts)
        return await self._dispatch(call)

    def _call(self, request: web.BaseRequest, user: User, group: str, version: str, parts: list[str]) -> Call | None:
        """The request's parts by name; None when it is no resource of the store."""
        namespace = None
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        kind = self._kind(group, version, parts[0])
        if kind is None or (namespace is not None and not kind.namespaced):
            return None
        name = parts[1] if len(parts) > 1 and parts[1] else None
        if name and kind.namespaced and namespace is None:
            return None
        subresource = parts[2] if len(parts) > 2 else ""
        return Call(request, kind, version, namespace, name, subresource, "/".join(parts[3:]), user)

    def _kind(self, group: str, version: str, plural: str) -> Kind | None:
        kind = self._store.kinds.get(plural) or self._store.kinds.get(f"{plural}.{group}")
        if kind is None or kind.group != group or version not in kind.served_versions:
            kind = self._store.kinds.get(f"{plural}.{group}")
        return kind if kind and kind.group == group and version in kind.served_versions else None

    async def _dispatch(self, call: Call) -> web.StreamResponse:
        method = call.request.method
        if call.subresource and call.subresource not in call.kind.subresources:
            raise ApiError(404, "NotFound", _NO_SUCH)
        if call.subresource not in ("", "status", "finalize"):
            return await self._subresource(call)
        if method == "GET" and not call.subresource and (call.flag("watch") or call.name is None):
            return await watching.serve(call, self._store) if call.flag("watch") else self._reading.list(call)
        one: dict[str, Callable[[Call], Awaitable[web.Response]]] = {
            "PUT": self._verbs.update,
            "PATCH": self._verbs.patch,
            "DELETE": self._verbs.delete,
        }
        many = {"POST": self._verbs.create, "DELETE": self._verbs.delete_collection}
        if method == "GET":
            return self._reading.get(call)
        act = (one if call.name else many).get(method)
        if act is None or call.kind.read_only or (method == "DELETE" and call.subresource):
            raise ApiError(405, "MethodNotAllowed", _NOT_ALLOWED)
        return await act(call)

    async def _subresource(self, call: Call) -> web.StreamResponse:
        method, sub = call.request.method, call.subresource
        if sub in discovery.NOT_OFFERED or (sub == "proxy" and call.kind.key == "nodes"):
            raise ApiError(501, "NotImplemented", f"the sandbox has no {call.kind.plural}/{sub}; see docs/sandbox.md")
        if sub == "scale" and method in ("GET", "PUT", "PATCH"):
            return await subresources.scale(call, self._store)
        if sub == "proxy" and self._session is not None:
            return await streams.proxy(call, self._store, self._session)
        if sub == "eviction" and method == "POST":
            return await eviction.evict(call, self._store)
        if sub == "binding" and method == "POST":
            return await subresources.bind(call, self._store)
        if sub == "token" and method == "POST":
            account = self._store.get(call.kind.key, call.name or "", call.namespace)
            return answer(self._door.issue(account, await call.body()), 201)
        if sub in ("log", "exec"):
            if self.kubelet is None:
                raise ApiError(503, "ServiceUnavailable", "the nodes are not up yet")
            if sub == "log" and method == "GET":
                return await streams.log(call, self._store, self.kubelet)
            if sub == "exec" and method in ("GET", "POST"):
                return await exec.run_command(call, self._store, self.kubelet)
        raise ApiError(405, "MethodNotAllowed", _NOT_ALLOWED)

    async def _review(
        self, request: web.BaseRequest, user: User, group: str, version: str, parts: list[str]
    ) -> web.StreamResponse:
        """Reviews of rights; every other path is unknown."""
        namespace = ""
        if parts[0] == "namespaces" and len(parts) == 3:
            namespace, parts = parts[1], parts[2:]
        known = {f"{kind.lower()}s": kind for kind in discovery.REVIEWS.get(group, ())}
        kind = known.get(parts[0]) if len(parts) == 1 and version == "v1" else None
        if request.method == "POST" and kind and bool(namespace) == kind.startswith("Local"):
            body = await Call(request, _NO_KIND, version, None, None, "", "", user).body()
            return reviews.review(kind, group, namespace, body, user, self._rights)
        if version not in discovery.groups(self._store.kinds).get(group, ()):
            return web.Response(text="404 page not found\n", status=404)
        raise ApiError(404, "NotFound", _NO_SUCH)

    def _document(self, request: web.BaseRequest, path: str) -> web.Response:
        """Health, version, discovery, OpenAPI."""
        kinds, parts = self._store.kinds, path.strip("/").split("/")
        if path.startswith(_HEALTH) and f"/{parts[0]}" in _HEALTH:
            ok = self.ready or parts[0] != "readyz"
            return web.Response(text="ok" if ok else "starting", status=200 if ok else 500)
        found: Any = None
        if path == "/version":
            found = discovery.version()
        elif path == "/api":
            found = discovery.api_versions(f"{self._settings.api_address}:{self._settings.port}")
        elif path == "/apis":
            found = discovery.group_list(kinds)
        elif parts[0] == "apis" and len(parts) == 2 and parts[1] in discovery.groups(kinds):
            told = discovery.group(parts[1], discovery.groups(kinds)[parts[1]])
            found = {"kind": "APIGroup", "apiVersion": "v1"} | told
        elif parts[0] in ("api", "apis"):
            found = discovery.resources(kinds, "" if parts[0] == "api" else parts[1], parts[-1])
        elif path == "/openapi/v2":
            if "protobuf" in request.headers.get("Accept", ""):
                content = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
                return web.Response(body=discovery.openapi_v2_protobuf(), content_type=content)
            found = discovery.openapi_v2()
        elif path == "/openapi/v3":
            found = discovery.openapi_v3_index(kinds)
        elif path.startswith("/openapi/v3/"):
            group, version = ("" if parts[2] == "api" else parts[3]), parts[-1]
            found = discovery.openapi_v3(kinds, group, version)
        elif path == "/":
            found = {
                "paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            }
        if found is None:
            return web.Response(text="404 page not found\n", status=404)
        return answer(found)


_NO_KIND = Kind("", "")


def _request(*arguments: Any) -> web.BaseRequest:
    """A request whose body may be as large as the real server allows."""
    message, payload, protocol, writer, task = arguments
    return web.BaseRequest(message, payload, protocol, writer, task, task.get_loop(), client_max_size=_BODY_LIMIT)
