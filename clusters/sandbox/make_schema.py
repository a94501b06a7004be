"""Makes schema.json and protobuf.json, run by hand for a new Kubernetes version:

    python -m clusters.sandbox.make_schema SWAGGER_JSON K8S_IO_API K8S_IO_APIMACHINERY

Reads api/openapi-spec/swagger.json of Kubernetes and the generated.proto and types.go files of its modules k8s.io/api
and k8s.io/apimachinery (all Apache-2.0) and keeps, of the kinds the sandbox has, what the sandbox needs: field names,
types, which are required, how lists merge, and protobuf's field numbers. schema.py says how a type is written.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from clusters.sandbox.kinds import BUILT_IN

_MORE = {"policy/v1/Eviction", "autoscaling/v1/Scale", "/v1/Binding", "authentication.k8s.io/v1/SelfSubjectReview"}
_MORE |= {f"authorization.k8s.io/v1/SelfSubject{what}Review" for what in ("Access", "Rules")}
_MORE |= {f"authorization.k8s.io/v1/{where}SubjectAccessReview" for where in ("", "Local")}
_MORE |= {"authentication.k8s.io/v1/TokenRequest"}
_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^ +(?:optional|repeated|map<\w+, ([\w.]+)>) ?([\w.]*) (\w+) = (\d+);$", re.MULTILINE)
_SCALARS = {"Time": "time", "MicroTime": "time", "Quantity": "quantity", "IntOrString": "int-or-string"}
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_OMITTED = re.compile(r"^\s+\w+\s+[^*\[\s]\S*\s+`[^`]*json:\"(\w+),omitempty", re.MULTILINE)  # zero is left out


class Maker:
    """Walks the definitions from the wanted kinds down."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self.full_names: dict[str, str] = {}
        self.names: dict[str, str] = {}  # full -> short
        self.types: dict[str, dict[str, str]] = {}
        self.roots: dict[str, str] = {}

    def visit(self, full_name: str) -> str:
        """The short name of a definition; its fields are in `types` afterwards."""
        definition, name = self._definitions[full_name], full_name.split(".")[-1]
        if "properties" not in definition:
            return _SCALARS.get(name) or ("any" if name in ("FieldsV1", "JSON") else definition.get("type", "any"))
        if self.full_names.setdefault(name, full_name) != full_name:
            name = ".".join(full_name.split(".")[-3:])
            self.full_names[name] = full_name
        self.names[full_name] = name
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
        if kind == "string" and form.get("format") == "byte":
            return "bytes"
        return str(form.get("format", "int64")) if kind == "integer" else kind


def make(swagger: Path) -> Maker:
    """The types of all kinds, and `roots`: which type a kind is."""
    definitions = json.loads(swagger.read_text())["definitions"]
    wanted = {f"{k.group}/{version}/{k.kind}" for k in BUILT_IN for version in (k.version, *k.versions)} | _MORE
    maker = Maker(definitions)
    for full_name, definition in definitions.items():
        for meant in definition.get("x-kubernetes-group-version-kind", ()):
            root = f"{meant['group']}/{meant['version']}/{meant['kind']}"
            if root in wanted:
                maker.roots[root] = maker.visit(full_name)
    maker.roots["/v1/DeleteOptions"] = maker.visit(_OPTIONS)
    return maker


def numbers(maker: Maker, modules: dict[str, Path]) -> dict[str, dict[str, str]]:
    """Type -> protobuf number -> field; `+Type` where the JSON has that message's fields in the owner's place, and
    `~field` where Go's JSON leaves a zero out (its protobuf writes them all)."""
    found: dict[str, dict[str, str]] = {}
    for full_name in maker.full_names.values():
        module = next((m for m in modules if full_name.startswith(m)), None)
        if module is None:
            continue
        folder = full_name.removeprefix(module).split(".")[:-1]
        text = modules[module].joinpath(*folder, "generated.proto").read_text()
        messages = dict(_MESSAGE.findall(text))
        structs = dict(_STRUCT.findall(modules[module].joinpath(*folder, "types.go").read_text()))
        pending = [(maker.names[full_name], full_name.split(".")[-1])]
        while pending:
            name, message = pending.pop()
            fields = found[name] = {}
            known, omitted = maker.types.get(name), set(_OMITTED.findall(structs.get(message, "")))
            for _, of, field, number in _FIELD.findall(messages[message]):
                inline = known is not None and field not in known and of in messages
                fields[number] = f"+{of}" if inline else f"~{field}" if field in omitted else field
                if inline and of not in maker.types and of not in found:
                    pending.append((of, of))
    return found


def _lines(table: dict[str, Any]) -> str:
    """One type a line, so that a new version can be reviewed."""
    return ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(table.items()))


if __name__ == "__main__":
    made = make(Path(sys.argv[1]))
    here = Path(__file__)
    roots = json.dumps(made.roots, sort_keys=True)
    here.with_name("schema.json").write_text(f'{{"roots": {roots},\n"types": {{\n{_lines(made.types)}\n}}}}\n')
    sources = {"io.k8s.api.": Path(sys.argv[2]), "io.k8s.apimachinery.": Path(sys.argv[3])}
    here.with_name("protobuf.json").write_text(f"{{\n{_lines(numbers(made, sources))}\n}}\n")
