"""Run folders with a known course, written as a run writes them: what the judge and the reports are tested with.

    run_dir = build_run(tmp_path)  # a pod kill that nobody noticed
    run_dir = build_run(tmp_path, outage=(0.0, 0.8))  # all requests of the first 0.8 s after the strike are bad
    run_dir = build_run(tmp_path, outage=(0.0, 9.0), outage_share=1 / 3, outcome="timeout")

Times of a course are seconds from the strike. The same course gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from harness.history.reader import History
from harness.history.writer import Recorder
from tests.course import RUN_ID, WALL_NS, ZERO_NS, Course, S
from tests.course_records import actions, cluster_events
from tests.course_requests import request_rows, schedule, write_requests


def build_run(tmp_path: Path, **course: Any) -> Path:
    """A run folder with this course, without reports. Returns its path."""
    return write_course(tmp_path / RUN_ID, Course(**course))


def write_course(run_dir: Path, course: Course) -> Path:
    """Write the course into a new folder."""
    run_dir.mkdir(parents=True)
    write_description(run_dir, course)
    write_requests(run_dir / "requests-0.arrows", request_rows(course))
    with Recorder(run_dir) as recorder:
        count = len(schedule(course))
        for record in actions(course, count):
            recorder.record(record)
        for watched in cluster_events(course):
            recorder.record(watched)
    return run_dir


def read_history(run_dir: Path) -> History:
    """The history of a folder."""
    return History.read(run_dir)


def alter_lines(path: Path, alter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite actions.jsonl or cluster.jsonl, given and returned as a list of objects.

    The count of lines that the history was closed with follows, so that the alteration is all that is wrong.
    """
    lines = alter([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if path.name == "cluster.jsonl":
        actions_file = path.with_name("actions.jsonl")
        text = actions_file.read_text(encoding="utf-8")
        closed = f'"cluster_lines":{len(lines)}' + "}"
        actions_file.write_text(re.sub(r'"cluster_lines": ?\d+}', closed, text), encoding="utf-8")


# -- what was asked for -----


def experiment_document(course: Course) -> dict[str, Any]:
    """experiment.yaml."""
    workload = {
        "namespace": "inference",
        "service": "detector",
        "selector": "app=detector",
        "protocol": "kserve-v2-http",
        "model": "detector",
        "golden": "golden/detector.json",
    }
    if course.stable_version is not None:
        workload["stable_version"] = course.stable_version
    return {
        "title": "A GPU pod dies under load",
        "description": "When one of three detector pods is killed, clients lose at most half a second.",
        "tags": ["gpu", "pod"],
        "method": [
            {
                "type": "action",
                "name": "strike",
                "provider": {
                    "type": "python",
                    "module": "harness.faults",
                    "func": course.fault.replace("-", "_"),
                    "arguments": {"namespace": "inference", "selector": "app=detector", "count": 1},
                },
            }
        ],
        "extensions": [
            {
                "name": "bulletproof",
                "workload": workload,
                "load": {
                    **({"trace": "traces/x.csv"} if course.trace is not None else {"rate": f"{course.rate:g}/s"}),
                    "arrivals": course.arrivals,
                    **({"shape": course.shape} if course.shape is not None else {}),
                    "timeout": f"{round(course.timeout_s * 1000)}ms",
                    "seed": course.seed,
                    "kept": course.kept,
                    **({"lag_limit": course.lag_limit} if course.lag_limit is not None else {}),
                    "on_time": course.on_time,
                },
                "phases": {
                    "baseline": f"{round(course.baseline_s * 1000)}ms",
                    "recover": f"{round(course.recover_s * 1000)}ms",
                    "settle": f"{round(course.settle_s * 1000)}ms",
                },
                "slos": ["slos/detector.yaml"],
                "expect": course.expect,
                "blast_radius": {"pods": 1, "floor": 0},
                "requires": ["pods", "services", "gpu"],
            }
        ],
    }


def slo_document(course: Course) -> dict[str, Any]:
    """slos/detector.yaml."""
    good: dict[str, Any] = {"outcome": "ok", "from": "scheduled"}
    if course.within is not None:
        good["within"] = course.within
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "detector"},
        "spec": {
            "service": "detector",
            "indicator": {
                "spec": {
                    "ratioMetric": {
                        "counter": True,
                        "good": {"metricSource": {"type": "bulletproof", "spec": good}},
                        "total": {"metricSource": {"type": "bulletproof", "spec": {"outcome": "any"}}},
                    }
                }
            },
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"target": course.target}],
        },
    }


def run_document(course: Course) -> dict[str, Any]:
    """run.json."""
    return {
        "format": 1,
        "run_id": RUN_ID,
        "bulletproof": "0.1.0",
        "experiment": "gpu-pod-kill",
        "file": "experiments/gpu-pod-kill.yaml",
        "platform": "healthy",
        "cluster": {
            "name": "sandbox",
            "provider": "sandbox",
            "context": "sandbox-1",
            "kubeconfig": "/somewhere/kubeconfig",
            "version": "v1.33.0-sandbox",
            "nodes": 3,
        },
        "seed": course.seed,
        "python": "3.11.7",
        "versions": {"locust": "2.47.0"},
        "git": "abc123",
        "command": "bulletproof run experiments/gpu-pod-kill.yaml",
        "user": "someone",
        "host": "ci-1",
        "started_wall_ns": WALL_NS,
        "started_ns": ZERO_NS - 5 * S,
        "load": {"target": "127.80.8.2:8000", "users": 383, "scheduler": "SCHED_FIFO"},
    }


def write_description(run_dir: Path, course: Course) -> None:
    """run.json, experiment.yaml, slos/, golden/, plan.json, logs."""
    (run_dir / "slos").mkdir()
    (run_dir / "golden").mkdir()
    (run_dir / "run.json").write_text(json.dumps(run_document(course), indent=2), encoding="utf-8")
    _yaml(run_dir / "experiment.yaml", experiment_document(course))
    _yaml(run_dir / "slos" / "detector.yaml", slo_document(course))
    golden = {"format": 1, "model": "detector", "version": "1", "tolerance": 1e-4, "cases": [{"inputs": []}]}
    (run_dir / "golden" / "detector.json").write_text(json.dumps(golden), encoding="utf-8")
    if course.trace is not None:
        (run_dir / "traces").mkdir()
        (run_dir / "traces" / "x.csv").write_text(course.trace, encoding="utf-8")
    (run_dir / "plan.json").write_text(json.dumps({"format": 1, "targets": []}), encoding="utf-8")
    (run_dir / "load.log").write_text("", encoding="utf-8")


def _yaml(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
