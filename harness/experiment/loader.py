"""An experiment file becomes an `Experiment`, or every error in it is told at once, before anything is touched.

A file is read in two ways. Before a run all of it must be right: the functions it names exist, its arguments bind,
its golden answers are there. A run's own copy (`RUN_DIR/experiment.yaml`, beside a run.json) is read to be judged:
then only what judging needs is asked for, so that it works without the modules, and without a cluster, years later.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import FileError, FileErrors
from harness.experiment import positions, shipped
from harness.experiment.chaos import NOT_CARRIED_OUT, ChaosDocument
from harness.experiment.companions import beside, golden_errors, named_slos, with_trace
from harness.experiment.contradictions import contradictions
from harness.experiment.model import Experiment, Extension
from harness.experiment.positions import Document
from harness.experiment.wrong import error_at, nearest, told


def load(path: Path | str, *, recorded: bool | None = None) -> Experiment:
    """The experiment of a file. Raises FileErrors that name the line of each wrong field.

    `recorded` says that the file is a run's copy; by default one that stands beside a run.json is.
    """
    path = Path(path)
    if recorded is None:
        recorded = (path.parent / "run.json").is_file()
    document = _read(path)
    wrong: list[FileError] = []
    data = document.data
    if not isinstance(data, dict):
        raise FileErrors([FileError("is no experiment: it holds no fields.", file=document.file)])
    chaos = None
    try:
        chaos = ChaosDocument.model_validate(data)
    except ValidationError as error:
        wrong += told(error, ChaosDocument, document, not_carried_out=NOT_CARRIED_OUT)
    extension = _extension(document, wrong)
    at = _extension_at(data)
    slos = named_slos(path, document, at, recorded, wrong)
    trace = None
    if extension is not None:
        wrong += contradictions(extension, document, at)
        if not recorded:
            wrong += golden_errors(extension, path, document, at)
        if extension.load.arrivals == "trace" and extension.load.trace is not None:
            trace = beside(path, extension.load.trace, "traces", recorded=recorded)
            extension = with_trace(extension, trace, document, at, wrong)
    if chaos is not None:
        wrong += _method_errors(chaos, document)
        if not recorded:
            from harness.experiment.activities import activity_errors

            wrong += activity_errors(document)
            if extension is not None and not wrong:
                wrong += _trust_errors(chaos, extension, document, at)
    if wrong or chaos is None or extension is None:
        raise FileErrors(sorted(wrong, key=lambda error: (error.file != document.file, error.line or 0)))
    return Experiment(
        file=str(path),
        title=chaos.title,
        description=chaos.description,
        tags=chaos.tags,
        bulletproof=extension,
        slos=slos,
        trace=None if trace is None else str(trace),
        chaos=data,
    )


def no_such_experiment(document: Document, place: positions.Path, name: str) -> FileError:
    """The error for a suite or a policy that names an experiment which is neither beside it nor shipped."""
    near = nearest(Path(name).stem, shipped.experiment_files())
    hint = f"Did you mean {near}?" if near else "Name a shipped experiment, or a file beside this one."
    return error_at(document, place, f'there is no experiment "{name}".', hint)


def _read(path: Path) -> Document:
    name = str(path)
    try:
        documents = positions.parse(path.read_text(encoding="utf-8"), name)
    except FileError as error:
        raise FileErrors([error]) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FileErrors([FileError(f"cannot be read: {reason}.", file=name)]) from None
    if len(documents) != 1:
        what = "is empty." if not documents else f"holds {len(documents)} documents; an experiment file holds one."
        raise FileErrors([FileError(what, file=name)])
    return documents[0]


def _extension_at(data: dict[str, Any]) -> positions.Path:
    blocks = data.get("extensions")
    for index, block in enumerate(blocks if isinstance(blocks, list) else []):
        if isinstance(block, dict) and block.get("name") == "bulletproof":
            return ("extensions", index)
    return ("extensions",)


def _extension(document: Document, wrong: list[FileError]) -> Extension | None:
    blocks = document.data.get("extensions")
    if not isinstance(blocks, list):
        if blocks is not None:  # the absence is told by the document's own model
            wrong.append(error_at(document, ("extensions",), "is not a list.", "Write - name: bulletproof."))
        return None
    names = [str(block.get("name")) for block in blocks if isinstance(block, dict)]
    if names.count("bulletproof") != 1:
        near = [name for name in names if nearest(name, ["bulletproof"])]
        what = "names bulletproof twice." if "bulletproof" in names else "has no block named bulletproof."
        hint = f"Did you mean it by {near[0]}?" if near and "bulletproof" not in names else ""
        wrong.append(error_at(document, ("extensions",), what, hint))
        return None
    at = _extension_at(document.data)
    try:
        return Extension.model_validate(document.at(at), by_alias=True, by_name=False)
    except ValidationError as error:
        wrong += told(error, Extension, document, at=at, shown="bulletproof")
        return None


def _trust_errors(
    chaos: ChaosDocument, extension: Extension, document: Document, at: positions.Path
) -> Iterator[FileError]:
    """What another tool says of its action is no proof: whoever takes its word for it says so."""
    foreign = []
    for index, activity in enumerate(chaos.method):
        if activity.type == "action" and getattr(activity.provider, "module", None) != "harness.faults":
            foreign.append(activity.name)
            if activity.name not in extension.trust:
                message = f'"{activity.name}" is another tool\'s action, and nothing would prove what it did.'
                hint = f"Use a fault of harness.faults, or take its word for it: bulletproof.trust: [{activity.name}]."
                yield error_at(document, ("method", index, "name"), message, hint)
    for index, name in enumerate(extension.trust):
        if name not in foreign:
            near = nearest(name, foreign)
            hint = f"Did you mean {near}?" if near else "It names actions of the method that are of other tools."
            yield error_at(
                document, (*at, "trust", index), f'the method has no such action "{name}".', hint,
                shown=f"bulletproof.trust.{index}",
            )  # fmt: skip


def _method_errors(chaos: ChaosDocument, document: Document) -> Iterator[FileError]:
    if all(activity.type != "action" for activity in chaos.method):
        yield error_at(document, ("method",), "has no action: nothing would be broken, and nothing proven.", "")
    seen: set[str] = set()
    for index, activity in enumerate(chaos.method):
        if activity.name in seen:
            yield error_at(
                document, ("method", index, "name"), f'"{activity.name}" is taken by an earlier activity.', ""
            )
        seen.add(activity.name)
