"""An experiment file becomes an `Experiment`, or every error in it is told at once, before anything is touched.

A file is read in two ways. Before a run all of it must be right: the functions it names exist, its arguments bind,
its golden answers are there. A run's own copy (`RUN_DIR/experiment.yaml`, beside a run.json) is read to be judged:
then only what judging needs is asked for, so that it works without the modules, and without a cluster, years later.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import units
from harness.errors import FileError, FileErrors
from harness.experiment import positions
from harness.experiment.chaos import NOT_CARRIED_OUT, ChaosDocument
from harness.experiment.model import Experiment, Extension, Slo
from harness.experiment.offered_load import Load
from harness.experiment.positions import Document
from harness.experiment.slo import load_slos
from harness.experiment.wrong import field_text, nearest, told

RUN_COPY = "experiment.yaml"


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
    slos = _slos(path, document, recorded, wrong)
    trace = None
    if extension is not None:
        at = _extension_at(data)
        wrong += _contradictions(extension, document, at)
        if not recorded:
            wrong += _golden_errors(extension, path, document, at)
        if extension.load.arrivals == "trace" and extension.load.trace is not None:
            trace = _beside(path, extension.load.trace, "traces", recorded=recorded)
            extension = _with_trace(extension, trace, document, at, wrong)
    if chaos is not None:
        wrong += _method_errors(chaos, document)
        if not recorded:
            from harness.experiment.activities import activity_errors

            wrong += activity_errors(document)
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


def golden_path(experiment: Experiment) -> Path:
    """The file of inputs with known answers, as an absolute path."""
    file = Path(experiment.file)
    return _beside(
        file, experiment.bulletproof.workload.golden, "golden", recorded=(file.parent / "run.json").is_file()
    )


def copy_into(experiment: Experiment, run_dir: Path) -> Path:
    """Copy the experiment file (its bytes as given), its SLO files, golden answers and trace into a run's folder.

    They lie there as `experiment.yaml`, `slos/NAME`, `golden/NAME` and `traces/NAME`, wherever they came from; the
    loader knows that a file beside a run.json finds them so. Two SLO files of one name are kept apart by a number.
    Returns the copy's path.
    """
    source = Path(experiment.file)
    workload = experiment.bulletproof.workload
    copies = [(source, run_dir / RUN_COPY), (golden_path(experiment), run_dir / "golden" / Path(workload.golden).name)]
    for given, name in zip(experiment.bulletproof.slos, _copy_names(experiment.bulletproof.slos), strict=True):
        copies.append((source.parent / given, run_dir / "slos" / name))
    if experiment.trace is not None:
        copies.append((Path(experiment.trace), run_dir / "traces" / Path(experiment.trace).name))
    for original, copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, copy)
    return run_dir / RUN_COPY


def warnings(experiment: Experiment) -> list[str]:
    """What may be meant and will probably disappoint: told by `validate` and `plan`, refused by nobody."""
    block = experiment.bulletproof
    told_of: list[str] = []
    phases, replay = block.phases, experiment.replay
    offered = float(experiment.offered(phases.baseline_ns).expected(phases.baseline_ns))
    for slo in experiment.slos:
        needed = math.ceil(math.log(0.05) / math.log(slo.target))
        if offered < needed:
            target = units.format_share(slo.target)
            told_of.append(
                f"the baseline offers about {offered:.0f} requests; to claim {target} of SLO {slo.name} at 95 % takes "
                f"{needed} without a failure: the run will end INVALID. Raise load.rate or lengthen phases.baseline."
            )
    longest_ns = phases.baseline_ns + phases.fault_limit_ns + phases.recover_ns + phases.settle_ns
    if replay is not None and replay.lasts_ns < longest_ns:
        lasts, longest = units.format_duration(replay.lasts_ns), units.format_duration(longest_ns)
        told_of.append(
            f"the trace lasts {lasts} at this speed, the run up to {longest}: it will begin again. A longer trace or a "
            "smaller load.trace_speed avoids that."
        )
    if block.abort_when is None:
        told_of.append("no abort_when: nothing ends the run early when the platform goes down for good.")
    return told_of


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
            wrong.append(_error(document, ("extensions",), "is not a list.", "Write - name: bulletproof."))
        return None
    names = [str(block.get("name")) for block in blocks if isinstance(block, dict)]
    if names.count("bulletproof") != 1:
        near = [name for name in names if nearest(name, ["bulletproof"])]
        what = "names bulletproof twice." if "bulletproof" in names else "has no block named bulletproof."
        hint = f"Did you mean it by {near[0]}?" if near and "bulletproof" not in names else ""
        wrong.append(_error(document, ("extensions",), what, hint))
        return None
    at = _extension_at(document.data)
    try:
        return Extension.model_validate(document.at(at), by_alias=True, by_name=False)
    except ValidationError as error:
        wrong += told(error, Extension, document, at=at, shown="bulletproof")
        return None


def _contradictions(extension: Extension, document: Document, at: positions.Path) -> Iterator[FileError]:
    """Fields that are right alone and wrong together."""
    expect, phases = extension.expect, extension.phases

    def error(path: tuple[str, ...], message: str, hint: str) -> FileError:
        return _error(document, (*at, *path), message, hint, shown=f"bulletproof.{'.'.join(path)}")

    for name, value in (("baseline", phases.baseline_ns), ("recover", phases.recover_ns), ("settle", phases.settle_ns)):
        if value <= 0:
            yield error(("phases", name), "must be longer than 0.", "Write 15s.")
    load = extension.load
    yield from (error(("load", name), message, hint) for name, message, hint in _arrival_errors(load))
    for name, given in (("hedge_after", load.hedge_after_ns), ("attempt_timeout", load.attempt_timeout_ns)):
        if given is not None and given >= load.timeout_ns:
            yield error(("load", name), "is no earlier than load.timeout.", "Shorten it, or leave it out.")
    for name in ("shape", "trace"):
        if getattr(load, name) is not None and expect.lost_ns is not None:
            message = f"is seconds at one arrival rate, and load.{name} changes it."
            yield error(("expect", "lost"), message, "Use lost_requests.")
    if extension.workload.stable_version is None and (
        expect.stable_within_ns is not None or expect.exposed is not None
    ):
        field = "stable_within" if expect.stable_within_ns is not None else "exposed"
        yield error(("expect", field), "needs to know the stable version.", "Set workload.stable_version.")
    limits = (
        ("recovers_within", expect.recovers_within_ns),
        ("replicas_within", expect.replicas_within_ns),
        ("stable_within", expect.stable_within_ns),
    )
    # Recovery counts from the fault's proven start; the recover phase begins when the method has ended, after that.
    longest = phases.recover_ns + phases.fault_limit_ns
    for name, limit in limits:
        if limit is not None and limit > longest:
            yield error(("expect", name), "is longer than the run would watch.", "Lengthen phases.recover.")
    if expect.hold_ns > phases.recover_ns:
        yield error(("expect", "hold"), "is longer than the recover phase.", "Lengthen phases.recover.")


def _arrival_errors(load: Load) -> Iterator[tuple[str, str, str]]:
    """(field, what is wrong, what to do): a load is drawn at a rate, or replays a trace."""
    given = load.model_fields_set
    if load.arrivals != "trace":
        if "rate_per_s" not in given:
            yield "rate", "is missing.", ""
        elif load.rate_per_s <= 0:
            yield "rate", "must be more than 0.", "Write 200/s."
        for name in ("trace", "trace_speed"):
            if name in given:
                yield name, "is for arrivals: trace alone.", "Set load.arrivals, or leave it out."
        return
    if load.trace is None:
        yield "arrivals", "needs a file of recorded arrivals.", "Set load.trace."
    for name, field in (("rate_per_s", "rate"), ("shape", "shape")):
        if name in given:
            yield field, "is what the trace says.", "Leave it out; load.trace_speed makes a trace faster."


def _with_trace(
    extension: Extension, file: Path, document: Document, at: positions.Path, wrong: list[FileError]
) -> Extension:
    """The block with the mean rate of its trace."""
    from harness.history.trace import TraceError, replay

    given = str(extension.load.trace)
    if not file.is_file():
        near = nearest(file.name, [one.name for one in file.parent.glob("*")])
        hint = f"Did you mean {Path(given).with_name(near)}?" if near else "It holds the times of recorded arrivals."
        message = f'there is no file "{given}" beside this one.'
        wrong.append(_error(document, (*at, "load", "trace"), message, hint, shown="bulletproof.load.trace"))
        return extension
    try:
        found = replay(file, extension.load.trace_speed)
    except TraceError as error:
        wrong.append(FileError(error.message, file=file, line=error.line))
        return extension
    load = extension.load.model_copy(update={"rate_per_s": found.rate_per_s})
    return extension.model_copy(update={"load": load})


def _slos(path: Path, document: Document, recorded: bool, wrong: list[FileError]) -> tuple[Slo, ...]:
    """The SLOs of the files that are named, also when something else of the block is wrong."""
    at = _extension_at(document.data)
    paths = document.at((*at, "slos"))
    if not isinstance(paths, list) or not all(isinstance(given, str) and given for given in paths):
        return ()  # told by the block's own model
    slos: list[Slo] = []
    for index, (given, copy) in enumerate(zip(paths, _copy_names(paths), strict=True)):
        file = path.parent / "slos" / copy if recorded else path.parent / given
        place = (*at, "slos", index)
        if not file.is_file():
            near = nearest(Path(given).name, [one.name for one in file.parent.glob("*.yaml")])
            hint = f"Did you mean {Path(given).with_name(near)}?" if near else ""
            wrong.append(
                _error(
                    document,
                    place,
                    f'there is no file "{given}" beside this one.',
                    hint,
                    shown=f"bulletproof.slos[{index}]",
                )
            )
            continue
        try:
            found = load_slos(file)
        except FileErrors as error:
            wrong += error.errors
            continue
        for slo in found:
            if slo.name in {other.name for other in slos}:
                wrong.append(
                    _error(
                        document, place, f'a second SLO is named "{slo.name}".', "", shown=f"bulletproof.slos[{index}]"
                    )
                )
            slos.append(slo)
    return tuple(slos)


def _golden_errors(extension: Extension, path: Path, document: Document, at: positions.Path) -> Iterator[FileError]:
    given = extension.workload.golden
    file = _beside(path, given, "golden", recorded=False)
    place = (*at, "workload", "golden")

    def error(message: str, hint: str = "") -> FileError:
        return _error(document, place, message, hint, shown="bulletproof.workload.golden")

    if not file.is_file():
        yield error(f'there is no file "{given}" beside this one.', "It holds inputs with their known answers.")
        return
    try:
        golden = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        yield error(f'"{given}" is not JSON: {problem}.')
        return
    if not isinstance(golden, dict) or golden.get("format") != 1 or not golden.get("cases"):
        yield error(f'"{given}" holds no golden answers of format 1.')
    elif golden.get("model") != extension.workload.model:
        yield error(f'"{given}" is for model {golden.get("model")}, and the workload\'s is {extension.workload.model}.')


def _method_errors(chaos: ChaosDocument, document: Document) -> Iterator[FileError]:
    if all(activity.type != "action" for activity in chaos.method):
        yield _error(document, ("method",), "has no action: nothing would be broken, and nothing proven.", "")
    seen: set[str] = set()
    for index, activity in enumerate(chaos.method):
        if activity.name in seen:
            yield _error(document, ("method", index, "name"), f'"{activity.name}" is taken by an earlier activity.', "")
        seen.add(activity.name)


def _copy_names(given: Sequence[str]) -> list[str]:
    """The file names under slos/ of a run's folder: the names as given, the second of one name with a number."""
    names: list[str] = []
    for path in given:
        name = Path(path).name
        number = 2
        while name in names:
            name = f"{Path(path).stem}-{number}{Path(path).suffix}"
            number += 1
        names.append(name)
    return names


def _beside(file: Path, given: str, folder: str, *, recorded: bool) -> Path:
    return (file.parent / folder / Path(given).name if recorded else file.parent / given).absolute()


def _error(document: Document, path: positions.Path, message: str, hint: str, *, shown: str | None = None) -> FileError:
    return FileError(message, file=document.file, line=document.line(path), field=shown or field_text(path), hint=hint)
