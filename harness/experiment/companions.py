"""The files beside an experiment (SLOs, golden answers, a trace): where they are, there and in a run's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import FileError, FileErrors
from harness.experiment import positions
from harness.experiment.model import Experiment, Extension, Slo
from harness.experiment.positions import Document
from harness.experiment.slo import load_slos
from harness.experiment.wrong import error_at, nearest

RUN_COPY = "experiment.yaml"


def golden_path(experiment: Experiment) -> Path:
    """The file of inputs with known answers, as an absolute path."""
    file = Path(experiment.file)
    return beside(file, experiment.bulletproof.workload.golden, "golden", recorded=(file.parent / "run.json").is_file())


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


def named_slos(
    path: Path, document: Document, at: positions.Path, recorded: bool, wrong: list[FileError]
) -> tuple[Slo, ...]:
    """The SLOs of the files that are named, also when something else of the block is wrong."""
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
                error_at(
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
                    error_at(
                        document, place, f'a second SLO is named "{slo.name}".', "", shown=f"bulletproof.slos[{index}]"
                    )
                )
            slos.append(slo)
    return tuple(slos)


def with_trace(
    extension: Extension, file: Path, document: Document, at: positions.Path, wrong: list[FileError]
) -> Extension:
    """The block with the mean rate of its trace."""
    from harness.history.trace import TraceError, replay

    given = str(extension.load.trace)
    if not file.is_file():
        near = nearest(file.name, [one.name for one in file.parent.glob("*")])
        hint = f"Did you mean {Path(given).with_name(near)}?" if near else "It holds the times of recorded arrivals."
        message = f'there is no file "{given}" beside this one.'
        wrong.append(error_at(document, (*at, "load", "trace"), message, hint, shown="bulletproof.load.trace"))
        return extension
    try:
        found = replay(file, extension.load.trace_speed)
    except TraceError as error:
        wrong.append(FileError(error.message, file=file, line=error.line))
        return extension
    load = extension.load.model_copy(update={"rate_per_s": found.rate_per_s})
    return extension.model_copy(update={"load": load})


def golden_errors(extension: Extension, path: Path, document: Document, at: positions.Path) -> Iterator[FileError]:
    """What is wrong with the golden answers, before a run."""
    given = extension.workload.golden
    file = beside(path, given, "golden", recorded=False)
    place = (*at, "workload", "golden")

    def error(message: str, hint: str = "") -> FileError:
        return error_at(document, place, message, hint, shown="bulletproof.workload.golden")

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


def beside(file: Path, given: str, folder: str, *, recorded: bool) -> Path:
    """Where the file is that an experiment calls `given`: beside it, or under `folder` of its run."""
    return (file.parent / folder / Path(given).name if recorded else file.parent / given).absolute()
