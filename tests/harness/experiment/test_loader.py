"""An experiment file is loaded whole, or every error in it is told at once with its line."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import FileErrors
from harness.experiment.contradictions import warnings
from harness.experiment.loader import load
from harness.experiment.shipped import experiment_files
from harness.run.load_place import Place
from harness.run.offering import load_config
from loadtests.config import LoadConfig
from tests.harness.experiment.files import SHIPPED, errors_of


@pytest.mark.parametrize("name", experiment_files())
def test_a_shipped_experiment_loads(name):
    """Every shipped file is right, and nothing about it is likely to disappoint."""
    experiment = load(experiment_files()[name])

    assert experiment.slos
    assert warnings(experiment) == []


def test_text_becomes_numbers_with_units_once():
    """Inside, nobody parses."""
    experiment = load(SHIPPED)

    block = experiment.bulletproof
    assert block.load.rate_per_s == 200
    assert block.phases.baseline_ns == 15_000_000_000
    assert block.expect.lost_ns == 500_000_000
    assert block.abort_when.hold_ns == 20_000_000_000
    (slo,) = experiment.slos
    assert (slo.name, slo.target, slo.within_ns, slo.measured_from) == ("detector", 0.98, 500_000_000, "scheduled")
    assert experiment.chaos["method"][0]["provider"]["func"] == "pod_kill"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "recovers_within: 5s",
            "recovers_within: 5",
            '35: bulletproof.expect.recovers_within: "5" has no unit. Write 15s, 2m or 500ms.',
        ),
        (
            "recovers_within: 5s",
            "recover_within: 5s",
            "35: bulletproof.expect.recover_within: is no field here. Did you mean recovers_within?",
        ),
        (
            "protocol: kserve-v2-http",
            "protocol: kserve-http",
            '29: bulletproof.workload.protocol: "kserve-http" is not allowed. Did you mean kserve-v2-http?',
        ),
        (
            "rate: 200/s",
            "rate: 200",
            '32: bulletproof.load.rate: "200" has no unit. Write 200/s or 30/m.',
        ),
        (
            "    model: detector\n",
            "",
            "25: bulletproof.workload.model: is missing.",
        ),
        (
            "    model: detector",
            "    model: 5",
            '30: bulletproof.workload.model: "5" is not text. Put it in quotes.',
        ),
        ("title: A GPU", "titel: A GPU", "1: titel: is no field here. Did you mean title?"),
        ("rollbacks:", "rollback:", "14: rollback: is no field here. Did you mean rollbacks?"),
        (
            "tags: [gpu, pod, nightly]",
            "steady-state-hypothesis: {title: x, probes: []}",
            "5: steady-state-hypothesis: Bulletproof does not carry this out. "
            "The steady state is the SLO, measured in the baseline; put probes into the method.",
        ),
        (
            "func: pod_kill",
            "func: pod_kil",
            '12: method[0].provider.func: harness.faults has no function "pod_kil". Did you mean pod_kill?',
        ),
        (
            "module: harness.faults",
            "module: harnes.faults",
            '11: method[0].provider.module: there is no module "harnes.faults" here. Did you mean harness.faults?',
        ),
        (
            "count: 1}",
            "cout: 1}",
            "13: method[0].provider.arguments.cout: pod_kill takes no such argument. Did you mean count?",
        ),
        (
            "selector: app=detector, count: 1}",
            'selector: "${who}", count: 1}',
            "13: method[0].provider.arguments.selector: ${who} is not defined. Define it under configuration.",
        ),
        (
            "- type: action\n  name: kill",
            "- type: probe\n  name: kill",
            "6: method: has no action: nothing would be broken, and nothing proven.",
        ),
        (
            "  name: kill-one-gpu-pod\n",
            "  name: kill-one-gpu-pod\n  controls: []\n",
            "9: method[0].controls: Bulletproof does not carry this out. Controls may swallow errors.",
        ),
        (
            "slos/detector.yaml",
            "slos/detektor.yaml",
            '34: bulletproof.slos[0]: there is no file "slos/detektor.yaml" beside this one. '
            "Did you mean slos/detector.yaml?",
        ),
        (
            "golden/detector.json",
            "golden/none.json",
            '31: bulletproof.workload.golden: there is no file "golden/none.json" beside this one. '
            "It holds inputs with their known answers.",
        ),
        (
            "    model: detector\n",
            "    model: chat\n",
            '31: bulletproof.workload.golden: "golden/detector.json" is for model detector, '
            "and the workload's is chat.",
        ),
        (
            "below 50% for 20s",
            "under 50%",
            '38: bulletproof.abort_when.availability: "under 50%" is not understood. Write: below 50% for 20s.',
        ),
        (
            "pods: 1, floor",
            "pods: -1, floor",
            '37: bulletproof.blast_radius.pods: "-1" must be at least 0.',
        ),
        (
            "baseline: 15s",
            "baseline: 0s",
            "33: bulletproof.phases.baseline: must be longer than 0. Write 15s.",
        ),
        (
            "replicas_within: 20s",
            "replicas_within: 20m",
            "35: bulletproof.expect.replicas_within: is longer than the run would watch. Lengthen phases.recover.",
        ),
        ("wrong_answers: 0,", "hold: 0s,", "35: bulletproof.expect.hold: must be longer than 0. Write 2s."),
        (
            "wrong_answers: 0,",
            "exposed: 25%,",
            "35: bulletproof.expect.exposed: needs to know the stable version. Set workload.stable_version.",
        ),
        (
            "requires: [pods,",
            "requires: [pod,",
            '39: bulletproof.requires[0]: "pod" is not allowed. Did you mean pods?',
        ),
        (
            "- name: bulletproof",
            "- name: bulletprof",
            "23: extensions: has no block named bulletproof. Did you mean it by bulletprof?",
        ),
        ("tags: [gpu, pod, nightly]", "tags: gpu", '5: tags: "gpu" is not a list.'),
        (
            "  load: {rate: 200/s, arrivals: poisson, timeout: 1.5s, seed: 7}",
            "  load:",
            "32: bulletproof.load: is empty. Give it a value or leave it out.",
        ),
        (
            "seed: 7}",
            "seed: 7, shape: spike to 400/s at 20s for 5s}",
            "35: bulletproof.expect.lost: is seconds at one arrival rate, and load.shape changes it. "
            "Use lost_requests.",
        ),
        (
            "seed: 7}",
            "seed: 7, shape: spike to 400 at 20s for 5s}",
            '32: bulletproof.load.shape: "spike to 400 at 20s for 5s" is not understood. Write one of: ramp to RATE at '
            "TIME over DURATION; spike to RATE at TIME for DURATION; steps to RATE RATE ... every DURATION; sine by "
            "SHARE every DURATION. As in: spike to 400/s at 20s for 5s.",
        ),
        (
            "seed: 7}",
            "seed: 7, hedge_after: 1.5s}",
            "32: bulletproof.load.hedge_after: is no earlier than load.timeout. Shorten it, or leave it out.",
        ),
        (
            "seed: 7}",
            "seed: 7, retry_on: [refused, wrong_answer]}",
            '32: bulletproof.load.retry_on[1]: "wrong_answer" is nothing that a client sees: it does not know the '
            "golden answer.",
        ),
        (
            "seed: 7}",
            "seed: 7, retry_on: [503]}",
            '32: bulletproof.load.retry_on[0]: "503" is not text. Put it in quotes.',
        ),
        (
            "seed: 7}",
            "seed: 7, retry_on: [unavailable]}",
            '32: bulletproof.load.retry_on[0]: "unavailable" is no outcome to retry on. Write one of: timeout, '
            "refused, reset, truncated, unreachable, error, http_503, grpc_UNAVAILABLE, or another code.",
        ),
    ],
)
def test_a_wrong_field_is_told_with_its_line_and_what_is_right(place, old, new, said):
    """File, line, the field's path, what is there, what is allowed, the nearest right spelling."""
    path = place((old, new))

    assert f"experiment.yaml:{said}" in errors_of(path)


def test_what_the_load_is_told_of_retries_is_what_the_file_says(place, tmp_path):
    """In the words of the load's configuration, which the load itself accepts."""
    path = place(
        (
            "seed: 7}",
            "seed: 7, retries: 2, retry_backoff: 20ms, retry_connection: new, hedge_after: 200ms}",
        )
    )

    config = load_config(load(path), Place(inside=False, host="127.0.0.1", port=8000), tmp_path)

    assert LoadConfig.parse(config).insists
    assert {name: config[name] for name in config if name.startswith(("retr", "hedge", "attempt"))} == {
        "retries": 2,
        "retry_on": ("refused", "reset", "http_503", "grpc_UNAVAILABLE"),
        "retry_backoff_ns": 20_000_000,
        "retry_connection": "new",
        "attempt_timeout_ns": None,
        "hedge_after_ns": 200_000_000,
    }


def test_all_errors_are_told_at_once(place):
    """Also those of the SLO files, and of a block of which something else is wrong."""
    path = place(("rate: 200/s", "rate: 200"), ("recovers_within: 5s", "recovers_within: 5"), ("tags:", "tag:"))
    slo = path.parent / "slos" / "detector.yaml"
    slo.write_text(slo.read_text().replace("target: 0.98", "target: 1"))

    told = errors_of(path)

    assert len(told) == 4
    assert told[-1] == 'slos/detector.yaml:25: spec.objectives[0].target: "1" must be less than 1.'


def test_a_field_in_the_names_of_the_program_is_refused(place):
    """`rate` is the field; `rate_per_s` is what the program calls it."""
    told = errors_of(place(("rate: 200/s", "rate_per_s: 200/s")))

    assert any("bulletproof.load.rate_per_s: is no field here." in error for error in told)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty."),
        ("[]", "is no experiment: it holds no fields."),
        ("title: [", "this is not YAML:"),
        ("title: a\ntitle: b", '"title" stands here and on line 1.'),
        ("1: a", 'the key "1" is not text.'),
        ("a: &x [*x]", "this alias contains itself."),
        ("a: 1\n---\nb: 2", "holds 2 documents"),
        ("a: !!python/object/apply:os.system [true]", "this is not YAML:"),
        ("a: 2026-13-01", "month must be in 1..12."),
        ("title: x\ndescription: y\nmethod: []\nextensions: {name: bulletproof}", "extensions: "),
        ("title: x\ndescription: y\nmethod:\nrollbacks:\nextensions: []", "rollbacks: is empty."),
        ("title: x\ndescription: y\nmethod: [5]\nextensions: [5]", '"5" is not a mapping'),
        ("title: x\ndescription: y\nmethod: [{type: action, name: x, provider: {}}]\nextensions: []", "has no type."),
    ],
)
def test_what_is_no_experiment_is_refused(tmp_path, text, said):
    """With the place, never with a traceback of the parser."""
    path = tmp_path / "x.yaml"
    path.write_text(text)

    assert any(said in error for error in errors_of(path)), errors_of(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    """And a folder, and what is no text."""
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")

    assert "cannot be read" in errors_of(tmp_path / "none.yaml")[0]
    assert "cannot be read" in errors_of(tmp_path)[0]
    assert "not UTF-8" in errors_of(tmp_path / "bytes.yaml")[0]


def test_a_module_that_breaks_while_it_is_imported_is_an_error_of_the_file(place, tmp_path, monkeypatch):
    """chaoslib imports what a file names; whatever that raises is told with the activity's line."""
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)

    told = errors_of(place(("module: harness.faults", "module: broken_module")))

    assert any("method[0].provider: RuntimeError: no licence." in error for error in told)


def test_a_variable_that_is_defined_is_accepted(place):
    """configuration and secrets define them."""
    path = place(
        ("tags: [gpu, pod, nightly]", "configuration: {who: app=detector}"),
        ("selector: app=detector, count: 1}", 'selector: "${who}", count: 1}'),
    )

    assert load(path).chaos["configuration"] == {"who": "app=detector"}


def test_too_few_requests_for_the_claim_are_foreseen(place):
    """149 requests without a failure are what it takes to claim 98 % at 95 %."""
    enough = load(place(("baseline: 15s", "baseline: 750ms")))
    few = load(place(("baseline: 15s", "baseline: 700ms")))

    assert warnings(enough) == []
    (warning,) = warnings(few)
    assert "takes 149 without a failure: the run will end INVALID" in warning


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*path, index))


_DOCUMENT = yaml.safe_load(SHIPPED.read_text())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from([place for place in _places(_DOCUMENT) if place]), value=_VALUES)
def test_whatever_stands_in_a_field_is_loaded_or_told(place, tmp_path, path, value):
    """No value anywhere leads to a traceback, and each error names a line of the file."""
    document = yaml.safe_load(SHIPPED.read_text())
    around = document
    for part in path[:-1]:
        around = around[part]
    around[path[-1]] = value
    file = tmp_path / "any.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True))

    try:
        load(file)
    except FileErrors as error:
        assert error.errors
        for one in error.errors:
            assert one.line is None or 1 <= one.line <= len(file.read_text().splitlines())
