"""The requests of a course, as the load would have recorded them; and how a test alters those of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness.experiment.shape import curve
from harness.history.requests import schema
from harness.history.trace import replay
from loadtests.arrivals import Clock
from tests.course import MS, NEW_POD, PODS, ZERO_NS, Course, S


def schedule(course: Course) -> np.ndarray:
    """Scheduled times, absolute ns, strictly increasing."""
    if course.trace is not None:
        due = np.arange(100_000)
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(course.trace)
            file.flush()
            times_ns = ZERO_NS + replay(Path(file.name), 1.0).offsets_ns(due)
        return times_ns[times_ns < course.end_ns]
    rng = np.random.default_rng(course.seed)
    span_s = (course.end_ns - ZERO_NS) / S
    most = 1.5 if course.shape_offered is None else 5.0  # of the declared rate, on average
    if course.arrivals == "constant":
        times = np.arange(1, int(span_s * course.rate * most) + 1) / course.rate
    else:
        times = np.cumsum(rng.exponential(1 / course.rate, int(span_s * course.rate * most) + 100))
    if course.shape_offered is not None:
        points = curve(course.rate, course.shape_offered, course.end_ns - ZERO_NS).points
        times = Clock(points).offsets_ns(times * course.rate) / S
    times_ns = ZERO_NS + np.unique((times * S).astype(np.int64))
    return times_ns[times_ns < course.end_ns]


def request_rows(course: Course) -> dict[str, list[Any]]:
    """The requests, as columns of Python values; tests may alter them before they are written."""
    rng = np.random.default_rng(course.seed + 1)
    scheduled = schedule(course)
    count = len(scheduled)
    since = (scheduled - course.strike_ns) / S
    latency_ms = (rng.gamma(4.0, 0.5, count) + 1.0) * course.latency_scale
    lag_ns = np.full(count, round(course.lag_ms * MS))
    for begin, end, ms in course.late:
        lag_ns[(since >= begin) & (since < end)] = round(ms * MS)
    pods = np.array(PODS, dtype=object)[rng.integers(0, len(PODS), count)]
    struck = pods == PODS[0]
    replaced = course.new_pod_ready_s is not None and course.fault == "pod-kill"
    if course.silent and course.strikes and course.fault == "pod-kill":
        gone = struck & (since >= 0)
        back = gone & (since >= (course.new_pod_ready_s or 0)) if replaced else np.zeros(count, dtype=bool)
        pods[gone] = PODS[1]
        pods[back] = NEW_POD
    if course.slow_ms:
        slow = (since >= 0) & (scheduled < course.rollback_ns + round(course.undo_s * S))
        if course.slow_pod is not None:
            slow &= pods == course.slow_pod
        latency_ms[slow] += course.slow_ms
    bad = rng.random(count) < course.noise
    chance = rng.random(count)
    for begin, end in course.outages:
        met = since + lag_ns / S if course.met_when_sent else since
        bad |= (met >= begin) & (met < end) & (chance < course.outage_share)
    unsent = np.zeros(count, dtype=bool)
    for begin, end in course.not_sent:
        unsent |= (since >= begin) & (since < end)
    versions = np.full(count, "1", dtype=object)
    outcomes = np.full(count, "ok", dtype=object)
    outcomes[bad] = "ok" if course.outcome == "slow" else course.outcome
    if course.bad_version is not None:
        begin, end, share = course.bad_version
        met = (since >= begin) & (since < end) & (rng.random(count) < share)
        versions[met] = "4"
        outcomes[met] = course.bad_version_outcome
    outcomes[unsent] = "not_sent"

    sent = scheduled + lag_ns
    took_ns = (latency_ms * MS).astype(np.int64)
    if course.outcome in ("timeout", "slow"):
        took_ns[bad] = round(course.timeout_s * S * (0.9 if course.outcome == "slow" else 1.0))
    elif course.outcome == "refused":
        took_ns[bad] = MS // 2
    end_ns = sent + took_ns
    answered = ~unsent & np.isin(outcomes, ["ok", "wrong_answer"])
    connection = np.where(rng.random(count) < float(course.kept.rstrip("%")) / 100, "kept", "new")

    def optional(values: np.ndarray, there: np.ndarray) -> list[Any]:
        return [value if is_there else None for value, is_there in zip(values.tolist(), there.tolist(), strict=True)]

    return {
        "arrival": list(range(count)),
        "scheduled_ns": scheduled.tolist(),
        "sent_ns": optional(sent, ~unsent),
        "first_byte_ns": optional(end_ns - took_ns // 10, answered),
        "end_ns": optional(end_ns, ~unsent),
        "outcome": outcomes.tolist(),
        "error": [None if outcome == "ok" else f"{outcome} by the course" for outcome in outcomes.tolist()],
        "pod": optional(pods, answered),
        "version": optional(versions, answered),
        "connection": connection.tolist(),
        "local_port": (32768 + np.arange(count) % 28000).tolist(),
        "attempts": np.where(unsent, 0, 1).tolist(),
        "user": (np.arange(count) % 300).tolist(),
        "protocol": ["kserve-v2-http"] * count,
        "tries": [None] * count,
    }


def batches(rows: dict[str, list[Any]], chunk: int = 20) -> list[pa.RecordBatch]:
    """The rows as chunks, each with dictionaries of its own, as a recorder makes them."""
    count = len(rows["arrival"])
    return [
        pa.RecordBatch.from_pydict({name: values[at : at + chunk] for name, values in rows.items()}, schema=schema())
        for at in range(0, count, chunk)
    ]


def write_requests(path: Path, rows: dict[str, list[Any]] | Sequence[pa.RecordBatch], *, close: bool = True) -> None:
    """A file of requests. `close=False` leaves out the end of the stream, as a killed writer does."""
    chunks = batches(rows) if isinstance(rows, dict) else rows
    with path.open("wb") as file:
        writer = pa.ipc.new_stream(file, schema())
        for chunk in chunks:
            writer.write_batch(chunk)
        if close:
            writer.close()


def read_batches(path: Path) -> list[pa.RecordBatch]:
    """The chunks of a file, to shuffle, double or drop them."""
    with path.open("rb") as file:
        return list(pa.ipc.open_stream(file))


def alter_requests(run_dir: Path, alter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite the requests, given and returned as a list of rows."""
    path = run_dir / "requests-0.arrows"
    rows = alter(pa.Table.from_batches(read_batches(path), schema()).to_pylist())
    table = pa.Table.from_pylist(rows, schema=schema())
    write_requests(path, table.to_batches(max_chunksize=500))
