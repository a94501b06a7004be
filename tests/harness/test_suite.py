"""Several experiments in a row: what is collected, and what counts."""

from __future__ import annotations

import itertools

import pytest

from harness import suite
from harness.errors import FileErrors, UsageError
from harness.experiment.shipped import experiment_files, folder, suite_files
from harness.verdict import EXIT_CODES, VerdictName


@pytest.mark.parametrize("name", suite_files())
def test_a_shipped_suite_is_collected(name):
    """Every member loads."""
    assert suite.collect([name])


def test_files_suites_and_names_are_collected_in_order(tmp_path):
    """As they stand on the command line."""
    items = suite.collect(["gpu-node-drain", "pods", str(experiment_files()["pod-latency"])])

    names = [item.experiment.file.rsplit("/", 1)[1] for item in items]
    assert names == ["gpu-node-drain.yaml", "gpu-pod-kill.yaml", "gpu-node-drain.yaml", "pod-latency.yaml"]


def test_a_member_s_platform_outranks_the_suite_s_and_the_option_outranks_both(tmp_path):
    """The nearest word counts; the command line is the nearest."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: Mine\nplatform: no-drain\nexperiments:\n"
        "- gpu-pod-kill\n- {file: gpu-node-drain, platform: single-replica}\n"
    )

    assert [item.platform for item in suite.collect([str(path)])] == ["no-drain", "single-replica"]
    assert [item.platform for item in suite.collect([str(path)], platform="healthy")] == ["healthy", "healthy"]
    assert [item.platform for item in suite.collect(["pods"])] == [None, None]


def test_every_error_of_every_file_is_told(tmp_path):
    """Those of suites, of their members, and of files beside them."""
    bad = tmp_path / "bad.yaml"
    text = (folder() / "gpu-pod-kill.yaml").read_text()
    bad.write_text(text.replace("recovers_within: 5s", "recovers_within: 5"))
    for name in ("slos/detector.yaml", "golden/detector.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((folder() / name).read_bytes())
    mine = tmp_path / "mine.yaml"
    mine.write_text("title: Mine\nexperiments:\n- gpu-pod-kil\n- bad.yaml\n- {fil: x}\n")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("titel: Mine\nexperiments: []\n")

    with pytest.raises(FileErrors) as caught:
        suite.collect([str(mine), str(wrong)])
    told = str(caught.value)
    assert "mine.yaml:5: experiments[2].fil: is no field here. Did you mean file?" in told
    assert "wrong.yaml:1: titel: is no field here. Did you mean title?" in told
    assert "wrong.yaml:2: experiments: is empty." in told

    mine.write_text("title: Mine\nexperiments:\n- gpu-pod-kil\n- bad.yaml\n")
    with pytest.raises(FileErrors) as caught:
        suite.collect([str(mine)])
    told = str(caught.value)
    assert 'mine.yaml:3: experiments[0]: there is no experiment "gpu-pod-kil". Did you mean gpu-pod-kill?' in told
    assert 'bad.yaml:35: bulletproof.expect.recovers_within: "5" has no unit.' in told


def test_a_name_that_is_not_shipped_is_refused():
    """With the nearest that is; a folder is no file."""
    with pytest.raises(UsageError, match="Did you mean pods"):
        suite.collect(["pod"])
    with pytest.raises(UsageError, match="is a folder"):
        suite.collect([str(folder())])


def test_of_several_verdicts_the_gravest_counts():
    """Damage, broken promises, stopped, unknown, left out, kept; in any order; and nothing at all is INVALID."""
    order = ["RESIDUE", "FAILED", "ABORTED", "INVALID", "SKIPPED", "PASSED"]
    for first, second in itertools.product(order, order):
        expected = min(first, second, key=order.index)
        assert suite.worst([VerdictName(first), VerdictName(second)]) == expected

    assert suite.worst([]) is VerdictName.INVALID
    assert set(order) == set(EXIT_CODES)
