"""Verdicts to report on, written by hand to the courses of `tests.histories`: no judge is needed to test a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.history.records import FORMAT as RUN_FORMAT
from harness.verdict import CheckKind, CheckResult, Verdict, VerdictName
from tests.course import MS, NEW_POD, PODS, RUN_ID, ZERO_NS, Course, S
from tests.histories import run_document


def measurements(course: Course, *, scheduled: int = 8_122, bad: Mapping[str, int] | None = None) -> dict[str, Any]:
    """What the judge measured of the course."""
    bad = {} if bad is None else dict(bad)
    lost = sum(bad.values())
    at = course.at
    baseline_end = ZERO_NS + round(course.baseline_s * S)
    recover = baseline_end + 100 * MS
    undone = course.rollback_ns + round(course.undo_s * S)
    settle = course.rollback_ns + round(course.rollback_s * S)
    latency = {"p50_ns": 2_900_000, "p95_ns": 4_900_000, "p99_ns": 6_100_000, "max_ns": 9_800_000, "n": 3000}
    return {
        "zero_ns": ZERO_NS,
        "phases": [
            {"phase": "prepare", "start_ns": ZERO_NS - 4 * S, "end_ns": ZERO_NS},
            {"phase": "baseline", "start_ns": ZERO_NS, "end_ns": baseline_end},
            {"phase": "fault", "start_ns": baseline_end, "end_ns": recover},
            {"phase": "recover", "start_ns": recover, "end_ns": course.rollback_ns},
            {"phase": "rollback", "start_ns": course.rollback_ns, "end_ns": settle},
            {"phase": "settle", "start_ns": settle, "end_ns": course.end_ns},
        ],
        "faults": [
            {
                "fault_id": "pod-kill-1",
                "fault": "pod-kill",
                "target": f"pod/{PODS[0]}",
                "begin_ns": at(0),
                "proven_ns": at(0.05),
                "undone_ns": None,
                "proven": True,
            }
        ],
        "undo": [{"entry_id": "pod-kill-1.0", "begin_ns": course.rollback_ns + MS, "verified_ns": undone}],
        "requests": {
            "scheduled": scheduled,
            "good": scheduled - lost,
            "bad": lost,
            "by_outcome": {"ok": scheduled - lost, **bad},
            "by_connection": {
                "new": {"scheduled": scheduled // 2, "bad": lost},
                "kept": {"scheduled": scheduled - scheduled // 2, "bad": 0},
            },
        },
        "slos": [
            {
                "name": "detector",
                "target": course.target,
                "within_ns": 250_000_000,
                "scheduled": scheduled,
                "good": scheduled - lost,
                "availability": (scheduled - lost) / scheduled,
                "lost_s": lost / course.rate,
                "budget_spent": lost / course.rate / 12_960,
                "burn": {},
                "steady_bound": 0.9987,
            }
        ],
        "latency": {
            "baseline": latency,
            "fault": latency | {"p99_ns": 8_200_000},
            "all": latency | {"n": scheduled - lost},
        },
        "recovery": {
            "start_ns": at(0),
            "after_ns": at(0.79) if lost else at(0),
            "by_ns": at(0.8) if lost else at(0.004),
            "stages": [
                {"name": "first bad request", "at_ns": at(0.003) if lost else None},
                {"name": "endpoint removed", "at_ns": at(0.06)},
                {"name": "pod scheduled", "at_ns": at(0.3)},
                {"name": "pod ready", "at_ns": at(1.2)},
                {"name": "SLO met", "at_ns": at(0.8)},
            ],
            "aftershocks": 0,
            "degraded_s": 1.2,
        },
        "lost_s": lost / course.rate,
        "lag": {"p50_ns": 100_000, "p99_ns": 310_000, "p999_ns": 900_000, "max_ns": 2_100_000, "on_time_share": 1.0},
        "proxy_cost_ns": None,
        "pods": [
            {
                "pod": PODS[0],
                "node": "gpu-0",
                "answers": 1000,
                "ready": [[ZERO_NS, at(0.02)]],
                "endpoint": [[ZERO_NS, at(0.06)]],
            },
            *(
                {
                    "pod": pod,
                    "node": f"gpu-{n}",
                    "answers": 3000,
                    "ready": [[ZERO_NS, None]],
                    "endpoint": [[ZERO_NS, None]],
                }
                for n, pod in enumerate(PODS[1:], start=1)
            ),
            {
                "pod": NEW_POD,
                "node": "gpu-0",
                "answers": 2000,
                "ready": [[at(1.2), None]],
                "endpoint": [[at(1.21), None]],
            },
        ],
        "versions": [{"version": "1", "answers": scheduled - lost, "first_ns": ZERO_NS, "last_ns": course.end_ns}],
        "errors": [
            {"outcome": outcome, "error": f"{outcome} by the course", "count": count, "first_ns": at(0.003)}
            for outcome, count in bad.items()
        ],
        "windows": {"size_s": 1, "met": 40, "total": 41},
    }


def checks(course: Course, *, lost_s: float = 0.0) -> tuple[CheckResult, ...]:
    """The checks of a pod kill; `lost` holds up to half a second."""
    passed, instrument, promise = VerdictName.PASSED, CheckKind.INSTRUMENT, CheckKind.PROMISE
    held = lost_s <= 0.5
    return (
        CheckResult(
            name="load_delivered",
            kind=instrument,
            verdict=passed,
            expected="99.9 % sent within 5 ms of schedule",
            seen="100 %",
        ),
        CheckResult(
            name="baseline_steady",
            kind=instrument,
            verdict=passed,
            expected="the SLO holds before the fault",
            seen="100 % of 3,014",
        ),
        CheckResult(
            name="fault_proven",
            kind=instrument,
            verdict=passed,
            expected="pod-gone, endpoint-withdrawn and pod-silent seen",
            seen="all seen, 50 ms after the strike",
            at_ns=course.at(0.05),
        ),
        CheckResult(
            name="lost",
            kind=promise,
            verdict=passed if held else VerdictName.FAILED,
            expected="at most 500 ms of service lost",
            seen=f"{lost_s:.2f} s lost",
            why="" if held else f"{lost_s:.2f} s of service were lost, 500 ms are allowed.",
            hint="" if held else "The dead pod's endpoint was withdrawn late: look at the readiness probe.",
            at_ns=course.at(0.003) if lost_s else None,
            measured={"lost_s": lost_s, "limit_s": 0.5},
        ),
        CheckResult(
            name="recovers_within",
            kind=promise,
            verdict=passed,
            expected="service back within 5 s",
            seen="back after 0.8 s (between 0.79 s and 0.80 s)",
            at_ns=course.at(0.8),
        ),
        CheckResult(
            name="fault_undone",
            kind=promise,
            verdict=passed,
            expected="undone within 5 s",
            seen="verified after 199 ms",
        ),
    )


def passed(course: Course | None = None) -> Verdict:
    """A promise that held."""
    course = course or Course()
    return Verdict(
        run_id=RUN_ID,
        title="A GPU pod dies under load",
        verdict=VerdictName.PASSED,
        why="Every check held: no request was lost, and service was never away.",
        checks=checks(course),
        measurements=measurements(course),
        environment=run_document(course),
    )


def failed(course: Course | None = None) -> Verdict:
    """Eight tenths of a second lost where half a second is allowed."""
    course = course or Course(outage=(0.0, 0.8))
    return Verdict(
        run_id=RUN_ID,
        title="A GPU pod dies under load",
        verdict=VerdictName.FAILED,
        why="0.80 s of service were lost, 500 ms are allowed.",
        checks=checks(course, lost_s=0.8),
        measurements=measurements(course, bad={"refused": 160}),
        environment=run_document(course),
    )


def skipped() -> Verdict:
    """A run that never began."""
    environment = {"format": RUN_FORMAT, "experiment": "gpu-node-drain", "file": "experiments/gpu-node-drain.yaml"}
    return Verdict(
        run_id="20261121-101500-gpu-node-drain-0001",
        title="A drained node breaks nothing",
        verdict=VerdictName.SKIPPED,
        why="The cluster offers no eviction, which the experiment requires.",
        checks=(),
        environment=environment,
    )
