"""Makes schema.json: `python -m clusters.sandbox.make_schema SWAGGER_JSON`, run by hand for a new Kubernetes version.

Reads api/openapi-spec/swagger.json of Kubernetes (Apache-2.0) and keeps, of the kinds the sandbox has, what the
sandbox needs: field names, types, which are required, and how lists merge. schema.py says how a type is written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from clusters.sandbox.kinds import BUILT_IN

_MORE = {"policy/v1/Eviction", "autoscaling/v1/Scale", "/v1/Binding"}
_SCALARS = {"Time": "time", "MicroTime": "time", "Quantity": "quantity", "IntOrString": "int-or-string"}


class Maker:
    """Walks the definitions from the wanted kinds down."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._full_names: dict[str, str] = {}
        self.types: dict[str, dict[str, str]] = {}

    def visit(self, full_name: str) -> str:
        """The short name of a definition; its fields are in `types` afterwards."""
        definition, name = self._definitions[full_name], full_name.split(".")[-1]
        if "properties" not in definition:
            return _SCALARS.get(name) or ("any" if name in ("FieldsV1", "JSON") else definition.get("type", "any"))
        if self._full_names.setdefault(name, full_name) != full_name:
            name = ".".join(full_name.split(".")[-3:])
        if name not in self.types:
            fields = self.types[name] = {}
            for field, form in definition["properties"].items():
                fields[field] = self._write(form)
                fields[field] += "!" if form.get("x-kubernetes-patch-strategy") == "retainKeys" else ""
                fields[field] += "*" if field in definition.get("required", ()) else ""
        return name

    def _write(self, form: dict[str, Any]) -> str:
        if "$ref" in form:
            return self.visit(form["$ref"].split("/")[-1])
        kind = str(form.get("type", "any"))
        if kind == "array":
            strategy = form.get("x-kubernetes-patch-strategy", "")
            text = "[" + self._write(form["items"])
            if "merge" in strategy:
                text += "@" + form.get("x-kubernetes-patch-merge-key", "")
            if form.get("x-kubernetes-list-type") in ("map", "set"):
                text += "#" + ",".join(form.get("x-kubernetes-list-map-keys", ()))
            return text + ("!" if "retainKeys" in strategy else "")
        if kind == "object":
            return "{" + self._write(form["additionalProperties"]) if form.get("additionalProperties") else "object"
        return str(form.get("format", "int64")) if kind == "integer" else kind


def make(swagger: Path) -> str:
    """The text of schema.json: one type a line, so that a new version can be reviewed."""
    definitions = json.loads(swagger.read_text())["definitions"]
    wanted = {f"{k.group}/{version}/{k.kind}" for k in BUILT_IN for version in (k.version, *k.versions)} | _MORE
    maker, roots = Maker(definitions), {}
    for full_name, definition in definitions.items():
        for meant in definition.get("x-kubernetes-group-version-kind", ()):
            root = f"{meant['group']}/{meant['version']}/{meant['kind']}"
            if root in wanted:
                roots[root] = maker.visit(full_name)
    lines = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(maker.types.items())]
    return '{"roots": ' + json.dumps(roots, sort_keys=True) + ',\n"types": {\n' + ",\n".join(lines) + "\n}}\n"


if __name__ == "__main__":
    Path(__file__).with_name("schema.json").write_text(make(Path(sys.argv[1])))
