"""The gate: nothing passes by absence, and nothing is believed that was not judged again."""

from __future__ import annotations

import dataclasses
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import gate_output, main
from harness.errors import FileErrors
from harness.experiment.companions import copy_into
from harness.experiment.loader import load
from harness.experiment.shipped import experiment_files, folder
from harness.gate import Ruling, decide
from harness.history.manifest import write_manifest
from harness.policy import fingerprint, load_policy
from tests.course import WALL_NS, Course
from tests.histories import alter_lines, build_run

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
            for part in ("slos", "golden", "traces"):
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


def test_the_same_run_given_twice_is_one(run, policy, tmp_path):
    """A copy of the path proves nothing more, and a copy of the folder neither."""
    asked = policy(experiments=f"[{{file: files/{EXPERIMENT}.yaml, runs: 2}}]")
    run_dir = run()
    shutil.copytree(run_dir, tmp_path / "copy")

    assert ruling([run_dir, run_dir.parent, run_dir], asked) == (Ruling.HOLD, "missing")
    assert ruling([run_dir, tmp_path / "copy"], asked) == (Ruling.HOLD, "missing")
    decision = decide([run_dir, tmp_path / "copy"], load_policy(asked), now_ns=WALL_NS)
    assert any("is the same run as" in note for note in decision.notes)


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


def test_a_run_that_names_no_cluster_counts_nowhere(run, policy):
    """Wherever that was."""
    run_dir = run()
    described = json.loads((run_dir / "run.json").read_text())
    del described["cluster"]
    (run_dir / "run.json").write_text(json.dumps(described))
    write_manifest(run_dir)

    assert ruling([run_dir], policy()) == (Ruling.HOLD, "foreign")


def test_a_run_of_another_trace_is_foreign(run, policy):
    """Half of the arrivals under the same name are another load."""
    run_dir = run(trace="seconds\n" + "".join(f"{n / 200}\n" for n in range(9000)), arrivals="trace", expect={})

    assert ruling([run_dir], policy()) == (Ruling.PASS, "passed")
    trace = run_dir.parent.parent / "files" / "traces" / "x.csv"
    trace.write_text("seconds\n" + "".join(f"{n / 100}\n" for n in range(9000)))

    assert ruling([run_dir], policy()) == (Ruling.HOLD, "foreign")


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


OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
BEFORE, AFTER = -1, 1


def serve(run_dir: Path, *images: str, since: int = BEFORE, containers: str = "server") -> None:
    """Each of the workload's pods is seen with the next of these images (the last for the rest) before the strike."""
    known = iter(images)
    course = Course()

    def with_images(lines):
        image = ""
        for line in lines:
            if line["kind"] == "Pod" and (line["t_ns"] > course.strike_ns) == (since == AFTER):
                image = next(known, image)
                line["object"]["status"]["containerStatuses"] = [{"name": containers, "imageID": image}]
        return lines

    alter_lines(run_dir / "cluster.jsonl", with_images)
    write_manifest(run_dir)


@pytest.mark.parametrize(
    ("seen", "asked", "expected"),
    [
        ([f"registry.example/detector@{NEW}"], NEW, "passed"),
        ([NEW], NEW, "passed"),
        ([f"registry.example/detector@{NEW}"], f"registry.example/detector@{NEW}", "passed"),
        ([f"registry.example/other@{NEW}"], f"registry.example/detector@{NEW}", "foreign"),
        ([f"registry.example/detector@{OLD}"], NEW, "foreign"),
        ([f"x@{NEW}", f"x@{OLD}", f"x@{NEW}"], NEW, "foreign"),
        ([f"x@{NEW}", f"x@{NEW}", ""], NEW, "foreign"),
        (["docker://sha256:1234"], "docker://sha256:1234", "passed"),
        (["sandbox://bulletproof/reference-server:1"], "sandbox://bulletproof/reference-server:1", "passed"),
    ],
)
def test_a_run_counts_only_for_the_release_that_it_tested(run, policy, seen, asked, expected):
    """Each pod that was there when the fault struck; one that is unknown is not the release."""
    run_dir = run()
    serve(run_dir, *seen)

    assert ruling([run_dir], policy(release=f"{{images: {{server: '{asked}'}}}}"))[1] == expected


def test_what_no_pod_was_seen_to_run_is_no_release(run, policy):
    """No image at all, images only of pods that came after the strike, another container's."""
    unseen, late, other = run(hours_ago=1), run(hours_ago=2), run(hours_ago=3)
    serve(late, NEW, since=AFTER)
    serve(other, NEW, containers="sidecar")
    asked = policy(release=f"{{images: {{server: '{NEW}'}}}}")

    for run_dir in (unseen, late, other):
        assert ruling([run_dir], asked) == (Ruling.HOLD, "foreign")


def test_the_fault_s_own_pods_are_not_asked(run, policy):
    """A bad release is another release, by intention."""
    run_dir = run()
    serve(run_dir, NEW)
    serve(run_dir, OLD, since=AFTER)

    assert ruling([run_dir], policy(release=f"{{images: {{server: '{NEW}'}}}}")) == (Ruling.PASS, "passed")


def test_a_broken_promise_of_another_release_says_nothing_of_this_one(run, policy):
    """It holds, and does not block."""
    run_dir = run(outage=(0.0, 8.0))
    serve(run_dir, OLD)

    assert ruling([run_dir], policy(release=f"{{images: {{server: '{NEW}'}}}}")) == (Ruling.HOLD, "foreign")


LOOSE = {"expect": {"recovers_within": "5s"}, "target": 0.8}


@pytest.mark.parametrize(
    ("outage", "margin", "expected"),
    [
        (3.5, "20%", (Ruling.PASS, "passed")),
        (4.5, "0%", (Ruling.PASS, "passed")),
        (4.5, "20%", (Ruling.BLOCK, "margin")),
        (5.5, "20%", (Ruling.BLOCK, "failed")),
    ],
)
def test_a_margin_tightens_the_limits(run, policy, outage, margin, expected):
    """5 s with 20 % to spare are 4 s; judged again with them, not computed from a figure of the report."""
    run_dir = run(outage=(0.0, outage), **LOOSE)

    assert ruling([run_dir], policy(margin=margin)) == expected
    of_one = policy(margin="90%", experiments=f"[{{file: files/{EXPERIMENT}.yaml, margin: {margin}}}]")
    assert ruling([run_dir], of_one) == expected


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        ("39.9%", (Ruling.PASS, "passed")),
        ("40.05%", (Ruling.HOLD, "unproven")),
        ("40.2%", (Ruling.BLOCK, "margin")),
    ],
)
def test_a_margin_that_cannot_be_decided_holds(run, policy, margin, expected):
    """The last bad request at 2.995 s, the first good one at 3 s: a limit between them says nothing."""
    run_dir = run(outage=(0.0, 3.0), arrivals="constant", **LOOSE)

    assert ruling([run_dir], policy(margin=margin)) == expected


@pytest.mark.parametrize(
    ("margin", "expected"),
    [("0%", (Ruling.PASS, "passed")), ("20%", (Ruling.PASS, "passed")), ("70%", (Ruling.BLOCK, "margin"))],
)
def test_a_margin_tightens_the_slo_too(run, policy, margin, expected):
    """The outage costs some 3 of 41 s: 7 % bad of the 20 % that the SLO allows, and no other promise is made."""
    run_dir = run(outage=(0.0, 3.0), expect={}, target=0.8)

    assert ruling([run_dir], policy(margin=margin)) == expected


def test_a_larger_margin_never_opens_the_gate(run, policy):
    """Nor does it turn what is known to be broken, by any of the runs, into what is merely not known."""
    graver = [Ruling.PASS, Ruling.HOLD, Ruling.BLOCK]
    short = {"baseline_s": 6.0, "recover_s": 12.0, "settle_s": 3.0, "rate": 100.0, **LOOSE}
    given_runs = [run(outage=(0.0, lasts), hours_ago=1 + lasts, **short) for lasts in (0.0, 3.0, 4.9, 6.0)]
    asked = load_policy(policy(budget="0.0006%", experiments=f"[{{file: files/{EXPERIMENT}.yaml, runs: 2}}]"))

    def ruled(folders, margin):
        required = dataclasses.replace(asked.required[0], margin=margin)
        return decide(folders, dataclasses.replace(asked, required=(required,)), now_ns=WALL_NS).ruling

    @settings(max_examples=15, deadline=None)
    @given(
        folders=st.lists(st.sampled_from(given_runs), min_size=1, max_size=2, unique=True),
        margins=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    )
    def never_kinder(folders, margins):
        assert graver.index(ruled(folders, max(margins))) >= graver.index(ruled(folders, min(margins)))

    never_kinder()


def test_a_proven_failure_outranks_what_is_not_known(run, policy):
    """The newer run cannot be decided with so much to spare; that the older one failed is known all the same."""
    newer = run(outage=(0.0, 3.0), arrivals="constant", **LOOSE)
    older = run(outage=(0.0, 8.0), arrivals="constant", hours_ago=2, **LOOSE)
    one, two = (f"[{{file: files/{EXPERIMENT}.yaml, runs: {runs}}}]" for runs in (1, 2))

    assert ruling([newer, older], policy(margin="40.05%", experiments=one)) == (Ruling.HOLD, "unproven")
    assert ruling([newer, older], policy(margin="40.05%", experiments=two)) == (Ruling.BLOCK, "failed")


def test_a_budget_is_spent_by_all_runs_together(run, policy):
    """2 lost seconds of the 518400 that 80 % over 30 days allow are 0.00039 %: within 0.0005 % once, not twice."""
    first, second = run(outage=(0.0, 2.0), **LOOSE), run(outage=(0.0, 2.0), hours_ago=2, **LOOSE, seed=8)

    def asked(runs, budget):
        return policy(budget=budget, experiments=f"[{{file: files/{EXPERIMENT}.yaml, runs: {runs}}}]")

    assert ruling([first, second], asked(1, "0.0005%")) == (Ruling.PASS, "passed")
    assert ruling([first, second], asked(2, "0.0005%")) == (Ruling.BLOCK, "budget")
    assert ruling([first, second], asked(2, "0.001%")) == (Ruling.PASS, "passed")


def test_a_broken_folder_holds(run, policy, tmp_path):
    """run.json that is no run's: it may be of the newest run, and that one may have failed."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("[]")
    run_dir = run()

    decision = decide([tmp_path / "broken", run_dir], load_policy(policy()), now_ns=WALL_NS)

    assert [(finding.name, finding.ruling) for finding in decision.findings] == [
        (EXPERIMENT, Ruling.PASS),
        ("broken", Ruling.HOLD),
    ]
    assert decision.exit_code == 2
    assert "cannot be read" in decision.findings[1].why


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_age": "24"}, 'gate.yaml:2: max_age: "24" has no unit.'),
        ({"margin": "0.2"}, '"0.2" has no unit.'),
        ({"margin": "100%"}, 'margin: "100%" must be less than 1.'),
        ({"budget": "101%"}, "is more than 100%"),
        ({"release": "{images: {}}"}, "release.images: is empty."),
        (
            {"release": "{images: {server: detector:v2}}"},
            'gate.yaml:5: release.images.server: "detector:v2" is no digest. Write sha256:',
        ),
        ({"max_aeg": "1d"}, "gate.yaml:5: max_aeg: is no field here. Did you mean max_age?"),
        ({"cluster": "[]"}, "gate.yaml:3: cluster: is empty."),
        ({"cluster": "[minikube]"}, 'gate.yaml:3: cluster[0]: "minikube" is no cluster.'),
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

    assert required.fingerprint == fingerprint(load(experiment_files()["gpu-pod-kill"]))


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
