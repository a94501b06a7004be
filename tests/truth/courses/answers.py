"""The right and the wrong answer to each golden case, put together once, in whatever bytes a protocol has for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.truth.courses import acts


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend says to one case."""

    model: str
    version: str
    pod: str
    outputs: list[Output]


class Answers:
    """Of all backends to all cases."""

    def __init__(self, golden: Path, render: Callable[[Answer], bytes]) -> None:
        document = json.loads(golden.read_text(encoding="utf-8"))
        self.size = 0  # of the inputs' raw bytes
        self._right: list[dict[bytes, bytes]] = [{} for _ in acts.BACKENDS]
        self._wrong: list[dict[bytes, bytes]] = [{} for _ in acts.BACKENDS]
        self._shape: list[dict[bytes, bytes]] = [{} for _ in acts.BACKENDS]
        for case in document["cases"]:
            key = b"".join(_raw(one) for one in case["inputs"])
            self.size = len(key)
            off = [{**one, "data": [one["data"][0] + 0.5, *one["data"][1:]]} for one in case["outputs"]]
            for backend in range(len(acts.BACKENDS)):
                self._right[backend][key] = render(_answer(document, case["outputs"], backend))
                self._wrong[backend][key] = render(_answer(document, off, backend))
                self._shape[backend][key] = render(_answer(document, case["outputs"][1:], backend))

    def of(self, kind: str, backend: int, inputs: bytes) -> bytes:
        """The whole answer. Requests of others than the load (plain JSON) get the first case's."""
        table = {acts.WRONG: self._wrong, acts.SHAPE: self._shape}.get(kind, self._right)[backend]
        found = table.get(inputs)
        return found if found is not None else next(iter(table.values()))


def _answer(document: dict[str, Any], outputs: Sequence[dict[str, Any]], backend: int) -> Answer:
    told = [Output(one["name"], one["datatype"], one["shape"], _raw(one)) for one in outputs]
    return Answer(document["model"], document["version"], acts.BACKENDS[backend], told)


def _raw(tensor: dict[str, Any]) -> bytes:
    return np.array(tensor["data"], dtype=np.float32).tobytes()
