"""The gate: nothing passes by absence, and nothing is believed that was not judged again."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness import gate
from harness.cli import gate_output, main
from harness.errors import FileErrors
from harness.experiment.loader import copy_into, load
from harness.experiment.shipped import experiment_files, folder
from harness.gate import Ruling, decide, load_policy
from harness.history.manifest import write_manifest
from tests.histories import WALL_NS, build_run

HOUR_NS = 3600 * 10**9
EXPERIMENT = "gpu-pod-kill"


@pytest.fixture
def policy(tmp_path):
    """A policy that asks for the experiment that `run` records; changes are YAML lines that replace a field's."""
    (tmp_path / "files").mkdir()

    def write(**fields: str):
        lines = {
            "title": "Release gate",
            "max_age": "24h",
            "cluster": "[sandbox]",
            "experiments": f"[files/{EXPERIMENT}.yaml]",
            **fields,
        }
        path = tmp_path / "gate.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
        return path

    return write


@pytest.fixture
def run(tmp_path):
    """A recorded run with a manifest, whose experiment is a file that the policy names."""
    number = 0

    def record(*, hours_ago: float = 1, cluster: str = "sandbox", platform: str = "healthy", **course) -> Path:
        nonlocal number
        number += 1
        run_dir = build_run(tmp_path / f"recorded-{number}", **course)
        described = json.loads((run_dir / "run.json").read_text())
        described["run_id"] = f"run-{number}"
        described["started_wall_ns"] = int(WALL_NS - hours_ago * HOUR_NS)
        described["platform"] = platform
        described["cluster"] = {**(described.get("cluster") or {}), "provider": cluster.split(":")[0], "name": cluster}
        (run_dir / "run.json").write_text(json.dumps(described))
        own = tmp_path / "files" / f"{EXPERIMENT}.yaml"
        if not own.exists():  # the policy's file is the one that was run
            own.write_bytes((run_dir / "experiment.yaml").read_bytes())
            for part in ("slos", "golden"):
                (own.parent / part).mkdir(exist_ok=True)
                for file in (run_dir / part).glob("*") if (run_dir / part).is_dir() else ():
                    (own.parent / part / file.name).write_bytes(file.read_bytes())
            golden = own.parent / "golden" / "detector.json"
            if not golden.exists():
                golden.write_bytes((folder() / "golden" / "detector.json").read_bytes())
        copy_into(load(own), run_dir)
        write_manifest(run_dir)
        return run_dir

    return record


def ruling(folders, policy, **others):
    """Ruling and kind of the only finding."""
    decision = decide(folders, load_policy(policy), now_ns=WALL_NS, **others)
    (finding,) = decision.findings
    assert decision.ruling is finding.ruling
    return finding.ruling, finding.kind


def test_a_fresh_run_that_passed_opens_the_gate(run, policy):
    """The only way through."""
    run_dir = run()

    assert ruling([run_dir], policy()) == (Ruling.PASS, "passed")
    assert ruling([run_dir.parent.parent], policy()) == (Ruling.PASS, "passed")


def test_no_run_holds(run, policy, tmp_path):
    """Absence is not consent: no folder, an empty one, one that is not there, another experiment's."""
    run_dir = run()
    (tmp_path / "empty").mkdir()

    assert ruling([], policy()) == (Ruling.HOLD, "missing")
    assert ruling([tmp_path / "empty"], policy()) == (Ruling.HOLD, "missing")
    assert ruling([tmp_path / "nowhere"], policy()) == (Ruling.HOLD, "missing")
    assert ruling([run_dir], policy(experiments="[gpu-node-drain]")) == (Ruling.HOLD, "missing")
    decision = decide([tmp_path / "nowhere"], load_policy(policy()), now_ns=WALL_NS)
    assert "there is no such folder" in decision.notes[0]


def test_a_broken_promise_blocks(run, policy):
    """FAILED is known, not merely unproven."""
    assert ruling([run(outage=(0.0, 8.0))], policy()) == (Ruling.BLOCK, "failed")


def test_an_invalid_run_holds(run, policy):
    """It says nothing, so it does not say that the promise holds."""
    assert ruling([run(strikes=False, claims={})], policy()) == (Ruling.HOLD, "unproven")


@pytest.mark.parametrize(
    ("hours", "expected"), [(23.99, "passed"), (24.01, "stale"), (0, "passed"), (-0.05, "passed"), (-1, "stale")]
)
def test_a_run_ages(run, policy, hours, expected):
    """Up to the limit it counts; one from the future is no fresher."""
    assert ruling([run(hours_ago=hours)], policy())[1] == expected


def test_the_newest_run_counts_and_not_the_best(run, policy):
    """A failure is not undone by an older success, in whatever order the folders are given."""
    older, newer = run(hours_ago=5), run(hours_ago=1, outage=(0.0, 8.0))

    assert ruling([older, newer], policy()) == (Ruling.BLOCK, "failed")
    assert ruling([newer, older], policy()) == (Ruling.BLOCK, "failed")
    assert ruling([older], policy()) == (Ruling.PASS, "passed")


def test_several_runs_may_be_asked_for(run, policy):
    """All of the newest N count, and N there must be."""
    asked = policy(experiments=f"[{{file: files/{EXPERIMENT}.yaml, runs: 2}}]")
    first, second, failed = run(hours_ago=1), run(hours_ago=2), run(hours_ago=3, outage=(0.0, 8.0))

    assert ruling([first], asked) == (Ruling.HOLD, "missing")
    assert ruling([first, second, failed], asked) == (Ruling.PASS, "passed")
    assert ruling([first, failed], asked) == (Ruling.BLOCK, "failed")


def test_the_same_run_given_twice_is_one(run, policy):
    """A copy of the path proves nothing more."""
    asked = policy(experiments=f"[{{file: files/{EXPERIMENT}.yaml, runs: 2}}]")
    run_dir = run()

    assert ruling([run_dir, run_dir.parent, run_dir], asked) == (Ruling.HOLD, "missing")


@pytest.mark.parametrize("file", ["actions.jsonl", "run.json", "experiment.yaml", "requests-0.arrows", "manifest.json"])
def test_an_altered_run_holds(run, policy, file):
    """Any file of it; and one without a manifest, and one with a file too many."""
    run_dir = run()
    path = run_dir / file
    path.write_bytes(path.read_bytes() + b" \n") if file != "manifest.json" else path.unlink()

    assert ruling([run_dir], policy()) == (Ruling.HOLD, "altered")


def test_a_verdict_is_not_believed(run, policy):
    """Each run is judged again from its history; a verdict.json that says otherwise changes nothing."""
    run_dir = run(outage=(0.0, 8.0))
    (run_dir / "verdict.json").write_text('{"verdict": "PASSED", "exit_code": 0}')
    write_manifest(run_dir)

    assert ruling([run_dir], policy()) == (Ruling.BLOCK, "failed")


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("experiment.yaml", "recovers_within: 5s", "recovers_within: 55s"),
        ("slos", "target: 0.995", "target: 0.5"),
        ("golden", '"format"', ' "format"'),
    ],
)
def test_a_weakened_promise_is_another_promise(run, policy, part, old, new):
    """Experiment, SLO and golden answers must be the policy's, byte for byte."""
    run_dir = run()
    path = run_dir / part
    path = next(path.iterdir()) if path.is_dir() else path
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    write_manifest(run_dir)

    assert ruling([run_dir], policy()) == (Ruling.HOLD, "foreign")


@pytest.mark.parametrize(
    ("cluster", "allowed", "kind"),
    [
        ("context:staging", "[sandbox]", "foreign"),
        ("sandbox", "[context]", "foreign"),
        ("context:staging", "[context]", "passed"),
        ("context:staging", '["context:staging"]', "passed"),
        ("context:staging2", '["context:staging"]', "foreign"),
        ("sandbox:dev", "[sandbox, context]", "passed"),
    ],
)
def test_a_run_counts_only_from_where_the_policy_says(run, policy, cluster, allowed, kind):
    """A promise kept on a laptop's sandbox says little about staging."""
    assert ruling([run(cluster=cluster)], policy(cluster=allowed))[1] == kind


def test_a_platform_may_be_asked_for(run, policy):
    """A run on another overlay is another platform's."""
    asked = policy(experiments=f"[{{file: files/{EXPERIMENT}.yaml, platform: healthy}}]")

    assert ruling([run(platform="single-replica")], asked) == (Ruling.HOLD, "missing")
    assert ruling([run(platform="healthy", hours_ago=3)], asked) == (Ruling.PASS, "passed")


def test_other_verdicts_may_be_allowed(run, policy):
    """A planted weakness must be found, for instance."""
    asked = policy(experiments=f"[{{file: files/{EXPERIMENT}.yaml, verdicts: [FAILED]}}]")

    assert ruling([run(outage=(0.0, 8.0))], asked) == (Ruling.PASS, "passed")
    assert ruling([run(hours_ago=0)], asked) == (Ruling.HOLD, "unproven")


def test_a_broken_folder_is_a_note_and_passes_nothing(run, policy, tmp_path):
    """run.json that is no run's."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("[]")
    run_dir = run()

    decision = decide([tmp_path / "broken", run_dir], load_policy(policy()), now_ns=WALL_NS)

    assert decision.ruling is Ruling.PASS
    assert any("cannot be read" in note for note in decision.notes)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_age": "24"}, 'gate.yaml:2: max_age: "24" has no unit.'),
        ({"max_aeg": "1d"}, "gate.yaml:5: max_aeg: is no field here. Did you mean max_age?"),
        ({"cluster": "[]"}, "gate.yaml:3: cluster: is empty."),
        ({"cluster": "[kind]"}, 'gate.yaml:3: cluster[0]: "kind" is no cluster.'),
        ({"experiments": "[]"}, "gate.yaml:4: experiments: is empty."),
        (
            {"experiments": "[gpu-pod-kil]"},
            'experiments[0]: there is no experiment "gpu-pod-kil". Did you mean gpu-pod-kill?',
        ),
        ({"experiments": "[{file: gpu-pod-kill, verdicts: [PASED]}]"}, "Did you mean PASSED?"),
        ({"experiments": "[{file: gpu-pod-kill, runs: 0}]"}, "must be at least 1"),
    ],
)
def test_a_wrong_policy_is_told_with_its_line(policy, fields, said):
    """A gate that cannot be read must not be one that opens."""
    with pytest.raises(FileErrors) as caught:
        load_policy(policy(**fields))

    assert said in str(caught.value)


def test_a_shipped_experiment_is_named_by_its_name(policy):
    """The file that the package ships is what its runs are compared with."""
    (required,) = load_policy(policy(experiments="[gpu-pod-kill]")).required

    assert required.fingerprint == gate.fingerprint(load(experiment_files()["gpu-pod-kill"]))


def test_the_worst_finding_is_the_gate_s(run, policy):
    """One broken promise among kept ones blocks; one missing holds; block outranks hold."""
    good = run()
    asked = policy(experiments=f"[files/{EXPERIMENT}.yaml, gpu-node-drain]")

    assert decide([good], load_policy(asked), now_ns=WALL_NS).ruling is Ruling.HOLD
    assert decide([run(hours_ago=0, outage=(0.0, 8.0))], load_policy(asked), now_ns=WALL_NS).ruling is Ruling.BLOCK


def test_the_gate_speaks_to_people_programs_junit_and_github(run, policy, tmp_path, monkeypatch):
    """The same ruling in each; in JUnit a hold is an error, a block a failure."""
    asked = policy(experiments=f"[files/{EXPERIMENT}.yaml, gpu-node-drain]")
    decision = decide([run(outage=(0.0, 8.0))], load_policy(asked), now_ns=WALL_NS)
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

    gate_output.write_step_summary(decision)

    assert gate_output.text(decision).startswith("BLOCK: a promise is broken")
    assert gate_output.to_json(decision)["exit_code"] == 1
    suite = ET.fromstring(gate_output.junit(decision)).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "1")
    assert "❌ | gpu-pod-kill" in summary.read_text()


def test_the_command_ends_with_the_ruling_s_exit_code(run, policy, tmp_path, capsys):
    """0 pass, 1 block, 2 hold."""
    asked = policy(max_age="9999999h")
    good, bad = run(hours_ago=2), run(outage=(0.0, 8.0))
    junit = tmp_path / "gate.xml"

    assert main(["gate", str(good), "--policy", str(asked), "--json", "--junit", str(junit)]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 1
    assert junit.read_text().startswith("<?xml")
    assert main(["gate", str(bad), "--policy", str(asked)]) == 1
    assert main(["gate", "--policy", str(asked)]) == 2
