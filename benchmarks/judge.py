"""What judging and reporting cost: `python benchmarks/judge.py [--requests 1000000 10000000]`.

Makes the history of a pod kill under heavy load (three pods and a replacement, new and kept connections, two outages,
refusals and timeouts, chunks as the recorder writes them), then judges it (five times) and writes its report, each in a
process of its own, and prints wall time, CPU time and peak memory of the whole process. The files are in the page
cache, as they are after a run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.history.requests import schema  # noqa: E402
from harness.history.writer import Recorder  # noqa: E402
from tests.course import MS, NEW_POD, PODS, Course, S  # noqa: E402
from tests.course_records import actions, cluster_events  # noqa: E402
from tests.course_requests import schedule  # noqa: E402
from tests.histories import write_description  # noqa: E402

RATE_PER_S = 5000.0
CHUNK = 500  # rows: what the recorder collects in 100 ms at that rate
PART = 500_000  # rows that are made at a time
# Requests -> seconds for judging, MB for judging, seconds for the report. None: nothing is promised.
AIMS: dict[int, tuple[float | None, float | None, float | None]] = {
    1_000_000: (1.0, None, 3.0),
    10_000_000: (5.0, 1500.0, None),
}
MOST_HTML_MB = 3.0
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one whole process."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    exit_code: int
    said: str


def cost(*arguments: object) -> Cost:
    """Of `bulletproof` with these arguments."""
    command = [sys.executable, "-m", "harness.cli", *map(str, arguments)]
    with tempfile.TemporaryFile() as out:
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode(errors="replace")
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss * 1024 / 1e6,
        exit_code=process.returncode,
        said=said,
    )


def make(run_dir: Path, requests: int) -> None:
    """A history of about so many requests (Poisson)."""
    seconds = requests / RATE_PER_S
    course = Course(
        rate=RATE_PER_S,
        baseline_s=0.3 * seconds,
        recover_s=0.6 * seconds,
        settle_s=0.1 * seconds,
        outage=((0.0, 0.4), (1.0, 1.5)),
        outage_share=0.5,
    )
    run_dir.mkdir(parents=True)
    write_description(run_dir, course)
    scheduled = schedule(course)
    with (run_dir / "requests-0.arrows").open("wb") as file:
        writer = pa.ipc.new_stream(file, schema())
        for begin in range(0, len(scheduled), PART):
            part = _rows(course, scheduled[begin : begin + PART], begin)
            for at in range(0, part.num_rows, CHUNK):
                writer.write_batch(part.slice(at, CHUNK))
        writer.close()
    with Recorder(run_dir) as recorder:
        for record in [*actions(course, len(scheduled)), *cluster_events(course)]:
            recorder.record(record)


def _rows(course: Course, scheduled: np.ndarray, first: int) -> pa.RecordBatch:
    """The requests that are scheduled then, numbered from `first`."""
    rng = np.random.default_rng([course.seed, first])
    count = len(scheduled)
    since_s = (scheduled - course.strike_ns) / S
    pod = rng.integers(0, 3, count)
    struck = (pod == 0) & (since_s >= 0)
    pod[struck] = np.where(since_s[struck] >= (course.new_pod_ready_s or 0), 3, 1)
    met = np.zeros(count, dtype=bool)
    for begin_s, end_s in course.outages:
        met |= (since_s >= begin_s) & (since_s < end_s)
    bad = met & (rng.random(count) < course.outage_share)
    timeout = bad & (rng.random(count) < 0.5)
    sent = scheduled + rng.integers(30_000, 300_000, count)
    took = ((rng.gamma(4.0, 0.5, count) + 1.0) * MS).astype(np.int64)
    took[bad] = MS // 2
    took[timeout] = round(course.timeout_s * S)
    outcome = np.where(bad, np.where(timeout, 1, 2), 0)
    columns = {
        "arrival": first + np.arange(count),
        "scheduled_ns": scheduled,
        "sent_ns": sent,
        "first_byte_ns": pa.array(sent + took - took // 10, mask=bad),
        "end_ns": sent + took,
        "outcome": _texts(outcome, ["ok", "timeout", "refused"]),
        "error": _texts(outcome - 1, ["deadline", "ConnectionRefusedError"], ~bad),
        "pod": _texts(pod, [*PODS, NEW_POD], bad),
        "version": _texts(np.zeros(count), ["1"], bad),
        "connection": _texts(rng.integers(0, 2, count), ["new", "kept"]),
        "local_port": 32768 + np.arange(first, first + count) % 28000,
        "attempts": np.ones(count),
        "user": np.arange(first, first + count) % 300,
        "protocol": _texts(np.zeros(count), ["kserve-v2-http"]),
        "tries": pa.array([None] * count, schema().field("tries").type),
    }
    arrays = [
        values if isinstance(values, pa.DictionaryArray) else pa.array(values).cast(field.type)
        for field, values in ((field, columns[field.name]) for field in schema())
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema())


def _texts(codes: np.ndarray, names: list[str], none: np.ndarray | None = None) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=none), pa.array(names))


def repeated(*arguments: object) -> list[Cost]:
    """`cost` of the same command REPEATS times, the quickest first: a shared machine's single run says little."""
    return sorted((cost(*arguments) for _ in range(REPEATS)), key=lambda one: one.wall_s)


def row(what: str, one: Cost, seen: str, aim: str, met: bool | None, spread: str = "") -> str:
    """A line of the table."""
    mark = {True: "yes", False: "NO", None: ""}[met]
    return (
        f"| {what} | {one.wall_s:.2f} s{spread} | {one.cpu_s:.2f} s | {one.peak_mb:.0f} MB | {seen} | {aim} | {mark} |"
    )


def main() -> int:
    """Print the table; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, nargs="+", default=[1_000_000, 10_000_000], metavar="N")
    parser.add_argument("--keep", type=Path, help="keep the histories in this folder")
    arguments = parser.parse_args()
    all_met = True
    print("| what | wall | CPU | peak memory | seen | aim | met |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for requests in arguments.requests:
            run_dir = (arguments.keep or Path(folder)) / f"requests-{requests}"
            if not run_dir.exists():
                make(run_dir, requests)
            judge_s, judge_mb, report_s = AIMS.get(requests, (None, None, None))
            runs = repeated("judge", "--json", run_dir)
            one, spread = runs[REPEATS // 2], f" ({runs[0].wall_s:.2f} to {runs[-1].wall_s:.2f})"
            told = json.loads(one.said[one.said.index("{") :])
            aims = [f"< {judge_s:g} s" if judge_s else "", f"< {judge_mb:g} MB" if judge_mb else ""]
            met = None
            if judge_s is not None:
                met = one.wall_s < judge_s and (judge_mb is None or max(each.peak_mb for each in runs) < judge_mb)
            scheduled = told["measurements"]["requests"]["scheduled"]
            print(row(f"judge {requests:,} requests, median of {REPEATS}", one, f"{told['verdict']} over {scheduled:,}",
                      ", ".join(filter(None, aims)), met, spread), flush=True)  # fmt: skip
            all_met &= met is not False
            one = cost("report", run_dir)
            if one.exit_code:
                raise SystemExit(one.said)
            html_mb = (run_dir / "report.html").stat().st_size / 1e6
            met = None if report_s is None else one.wall_s < report_s and html_mb < MOST_HTML_MB
            aim = f"< {report_s:g} s, < {MOST_HTML_MB:g} MB" if report_s else ""
            print(row(f"judge and report {requests:,} requests", one, f"report.html {html_mb:.2f} MB", aim, met),
                  flush=True)  # fmt: skip
            all_met &= met is not False
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
