"""OpenSLO documents: the subset that is judged is read, everything else is refused by name."""

from __future__ import annotations

import pytest

from harness.errors import FileErrors
from harness.experiment.shipped import folder
from harness.experiment.slo import load_slos

TEXT = (folder() / "slos" / "detector.yaml").read_text()


def written(tmp_path, *changes: tuple[str, str]):
    """The shipped SLO file with changes."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "slo.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (("target: 0.98", "target: 0.9999"), "target", 0.9999),
        (("target: 0.98", "targetPercent: 99.9"), "target", 0.999),
        (("30d", "4w"), "window_days", 28),
        (("30d", "12h"), "window_days", 0.5),
        (("within: 500ms, ", ""), "within_ns", None),
        (("within: 500ms", "within: 2s"), "within_ns", 2_000_000_000),
        (("from: scheduled", "from: sent"), "measured_from", "sent"),
        ((", from: scheduled", ""), "measured_from", "scheduled"),
    ],
)
def test_the_subset_is_read(tmp_path, change, field, value):
    """A target as share or percent, any rolling window, a latency limit or none."""
    (slo,) = load_slos(written(tmp_path, change))

    assert getattr(slo, field) == value


def test_a_file_may_hold_several(tmp_path):
    """As OpenSLO files do, one document each."""
    path = written(tmp_path)
    path.write_text(TEXT + "---\n" + TEXT.replace("name: detector\n", "name: detector-fast\n").replace("500ms", "50ms"))

    assert [(slo.name, slo.within_ns) for slo in load_slos(path)] == [
        ("detector", 500_000_000),
        ("detector-fast", 50_000_000),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("indicator:", "indicatorRef: x\n  indicators:"),
            "spec.indicatorRef: Bulletproof does not carry this out. Write the indicator inline: indicator.",
        ),
        (
            ("        good:", "        bad:"),
            "spec.indicator.spec.ratioMetric.bad: Bulletproof does not carry this out. Write good.",
        ),
        (("Occurrences", "Timeslices"), 'spec.budgetingMethod: "Timeslices" is not allowed. Write Occurrences.'),
        (("isRolling: true", "isRolling: false"), 'spec.timeWindow[0].isRolling: "false" is not allowed. Write true.'),
        (("30d", "30s"), 'spec.timeWindow[0].duration: "30s" is not a window. Write 30d, 4w or 12h.'),
        (("30d", "1M"), 'spec.timeWindow[0].duration: "1M" is not a window.'),
        (("target: 0.98", "target: 1.0"), 'spec.objectives[0].target: "1.0" must be less than 1.'),
        (("target: 0.98", "target: 0"), 'spec.objectives[0].target: "0" must be more than 0.'),
        (("target: 0.98", "target: 98"), 'spec.objectives[0].target: "98" must be less than 1.'),
        (
            (", target: 0.98", ""),
            "spec.objectives[0]: needs target (0.999) or targetPercent (99.9), and only one of them.",
        ),
        (
            ("target: 0.98", "target: 0.98, targetPercent: 98"),
            "needs target (0.999) or targetPercent (99.9), and only one",
        ),
        (("target: 0.98", "target: 0.98, op: lt"), 'spec.objectives[0].op: "lt" is not allowed. Did you mean lte?'),
        (("target: 0.98", "target: 0.98, op: lte, value: 3"), "has op or value, which belong to a thresholdMetric."),
        (
            ("type: bulletproof, spec: {outcome: ok", "type: prometheus, spec: {outcome: ok"),
            '"prometheus" is not allowed. Write bulletproof.',
        ),
        (("outcome: ok", "outcome: fine"), '"fine" is not allowed. Write ok.'),
        (("within: 500ms", "within: 500"), 'spec.within: "500" has no unit. Write 15s, 2m or 500ms.'),
        (("kind: SLO", "kind: Service"), 'kind: "Service" is not allowed. Write SLO.'),
        (("openslo/v1", "openslo/v1alpha"), 'apiVersion: "openslo/v1alpha" is not allowed. Did you mean openslo/v1?'),
        (("name: detector\n", "name: Detector!\n"), "metadata.name:"),
    ],
)
def test_what_is_not_judged_is_refused_by_name(tmp_path, change, said):
    """Never ignored: an objective that is not judged would pass by absence."""
    with pytest.raises(FileErrors) as caught:
        load_slos(written(tmp_path, change))

    assert any(said in str(error) for error in caught.value.errors), [str(error) for error in caught.value.errors]


THRESHOLD = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: fast}
spec:
  service: detector
  indicator:
    metadata: {name: fast}
    spec:
      thresholdMetric: {metricSource: {type: bulletproof, spec: {metric: latency, unit: ms}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{op: lte, value: 250, target: 0.99}]
"""


@pytest.mark.parametrize(("unit", "within_ns"), [("ms", 250_000_000), ("s", 250_000_000_000)])
def test_a_threshold_indicator_is_a_latency_limit(tmp_path, unit, within_ns):
    """The same objective in OpenSLO's own words."""
    path = tmp_path / "slo.yaml"
    path.write_text(THRESHOLD.replace("unit: ms", f"unit: {unit}"))

    (slo,) = load_slos(path)

    assert (slo.within_ns, slo.target, slo.measured_from) == (within_ns, 0.99, "scheduled")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (", value: 250", "", "needs op: lte and value"),
        ("op: lte, ", "", "needs op: lte and value"),
        ("op: lte", "op: gt", '"gt" is not allowed. Write lte.'),
        ("value: 250", "value: 0", "must be more than 0"),
        ("metric: latency", "metric: tokens", '"tokens" is not allowed. Write latency.'),
        ("unit: ms", "unit: us", '"us" is not allowed.'),
    ],
)
def test_a_threshold_that_is_not_judged_is_refused(tmp_path, old, new, said):
    """By name, as above."""
    path = tmp_path / "slo.yaml"
    path.write_text(THRESHOLD.replace(old, new))

    with pytest.raises(FileErrors) as caught:
        load_slos(path)

    assert said in str(caught.value)


def test_two_objectives_are_refused(tmp_path):
    """One objective a document, as the other readers of OpenSLO have it."""
    with pytest.raises(FileErrors) as caught:
        load_slos(written(tmp_path, ("target: 0.98}", "target: 0.98}\n  - {displayName: More, target: 0.9}")))

    assert "spec.objectives" in str(caught.value)


def test_an_empty_file_is_refused(tmp_path):
    """An experiment without an objective promises nothing."""
    path = tmp_path / "slo.yaml"
    path.write_text("# nothing\n")

    with pytest.raises(FileErrors, match="holds no SLO"):
        load_slos(path)
