"""OpenSLO v1 documents, in the subset that Bulletproof judges. What is outside it is refused by name.

The subset is what other OpenSLO readers of the field share: one objective, an inline indicator, Occurrences, a
rolling window. Durations of OpenSLO know no seconds, so the latency limit of a ratio stands in the metric source's
free-form spec, where OpenSLO leaves room for exactly that:

    ratioMetric: ... metricSource: {type: bulletproof, spec: {outcome: ok, within: 250ms, from: scheduled}}

A threshold indicator says the same with OpenSLO's own words; a request without a right answer meets no threshold:

    thresholdMetric: {metricSource: {type: bulletproof, spec: {metric: latency, unit: ms, from: scheduled}}}
    objectives: [{op: lte, value: 250, target: 0.99}]
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from harness.errors import FileError, FileErrors
from harness.experiment import positions
from harness.experiment.fields import DurationNs, Strict
from harness.experiment.model import Slo
from harness.experiment.wrong import told


class _Metadata(Strict):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)
    displayName: str | None = None  # noqa: N815 - OpenSLO's spelling, as below
    labels: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class _GoodSpec(Strict):
    outcome: Literal["ok"]
    within_ns: DurationNs | None = Field(None, alias="within")
    measured_from: Literal["scheduled", "sent"] = Field("scheduled", alias="from")


class _GoodSource(Strict):
    type: Literal["bulletproof"]
    spec: _GoodSpec


class _TotalSpec(Strict):
    outcome: Literal["any"]


class _TotalSource(Strict):
    type: Literal["bulletproof"]
    spec: _TotalSpec


class _Good(Strict):
    metricSource: _GoodSource  # noqa: N815


class _Total(Strict):
    metricSource: _TotalSource  # noqa: N815


class _Ratio(Strict):
    counter: bool
    good: _Good
    total: _Total


class _LatencySpec(Strict):
    metric: Literal["latency"]
    unit: Literal["ms", "s"]
    measured_from: Literal["scheduled", "sent"] = Field("scheduled", alias="from")


class _LatencySource(Strict):
    type: Literal["bulletproof"]
    spec: _LatencySpec


class _Threshold(Strict):
    metricSource: _LatencySource  # noqa: N815


class _IndicatorSpec(Strict):
    description: str | None = None
    ratioMetric: _Ratio | None = None  # noqa: N815
    thresholdMetric: _Threshold | None = None  # noqa: N815


class _Indicator(Strict):
    metadata: _Metadata | None = None
    spec: _IndicatorSpec


def _window(text: str) -> str:
    if re.fullmatch(r"[1-9]\d*[mhdw]", text) is None:
        raise ValueError(f'"{text}" is not a window. Write 30d, 4w or 12h.')
    return text


class _TimeWindow(Strict):
    duration: Annotated[str, AfterValidator(_window)]
    isRolling: Literal[True]  # noqa: N815


class _Objective(Strict):
    displayName: str | None = None  # noqa: N815
    target: float | None = Field(None, gt=0, lt=1)
    targetPercent: float | None = Field(None, gt=0, lt=100)  # noqa: N815
    op: Literal["lte"] | None = None
    value: float | None = Field(None, gt=0)


class _Spec(Strict):
    description: str | None = None
    service: str
    indicator: _Indicator
    timeWindow: tuple[_TimeWindow] = Field(min_length=1, max_length=1)  # noqa: N815
    budgetingMethod: Literal["Occurrences"]  # noqa: N815
    objectives: tuple[_Objective] = Field(min_length=1, max_length=1)


class _Document(Strict):
    apiVersion: Literal["openslo/v1"]  # noqa: N815
    kind: Literal["SLO"]
    metadata: _Metadata
    spec: _Spec


# Parts of OpenSLO that are right there and that we don't judge, with what to write instead.
_NOT_JUDGED = {
    "indicatorRef": "Write the indicator inline: indicator.",
    "bad": "Write good.",
    "raw": "Write good and total.",
    "rawType": "Write good and total.",
    "calendar": "Write isRolling: true.",
    "alertPolicies": "Alerts are another experiment's promise.",
    "timeSliceTarget": "Write budgetingMethod: Occurrences.",
    "timeSliceWindow": "Write budgetingMethod: Occurrences.",
    "compositeWeight": "Write one SLO a document.",
    "indicator": "Write the indicator in spec.indicator.",
}
_NOT_CARRIED_OUT: dict[tuple[str, ...], str] = {("activity", word): instead for word, instead in _NOT_JUDGED.items()}

_WINDOW_DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0}


def load_slos(path: Path, *, shown: str | None = None) -> tuple[Slo, ...]:
    """Every SLO of an OpenSLO file. Raises FileErrors; `shown` is the file's name in messages."""
    name = shown or str(path)
    documents = positions.read(path, name)
    if not documents:
        raise FileErrors([FileError("holds no SLO.", file=name)])
    slos: list[Slo] = []
    wrong: list[FileError] = []
    for document in documents:
        try:
            slos.append(_slo(_Document.model_validate(document.data, strict=False), name))
        except ValidationError as error:
            wrong += told(error, _Document, document, not_carried_out=_NOT_CARRIED_OUT)
        except ValueError as error:
            wrong.append(
                FileError(
                    str(error), file=name, line=document.line(("spec", "objectives", 0)), field="spec.objectives[0]"
                )
            )
    if wrong:
        raise FileErrors(wrong)
    return tuple(slos)


def _slo(document: _Document, file: str) -> Slo:
    objective = document.spec.objectives[0]
    if (objective.target is None) == (objective.targetPercent is None):
        raise ValueError("needs target (0.999) or targetPercent (99.9), and only one of them.")
    target = objective.target if objective.target is not None else round((objective.targetPercent or 0) / 100, 12)
    within_ns, measured_from = _limit(document.spec.indicator.spec, objective)
    window = document.spec.timeWindow[0].duration
    return Slo(
        name=document.metadata.name,
        service=document.spec.service,
        target=target,
        window_days=int(window[:-1]) * _WINDOW_DAYS[window[-1]],
        within_ns=within_ns,
        measured_from=measured_from,
        file=file,
    )


def _limit(indicator: _IndicatorSpec, objective: _Objective) -> tuple[int | None, Literal["scheduled", "sent"]]:
    """The latency limit, and where it counts from. Raises ValueError where indicator and objective do not fit."""
    if (indicator.ratioMetric is None) == (indicator.thresholdMetric is None):
        raise ValueError("needs an indicator with ratioMetric or thresholdMetric, and only one of them.")
    if indicator.ratioMetric is not None:
        if objective.op is not None or objective.value is not None:
            raise ValueError("has op or value, which belong to a thresholdMetric. Write `within` of the good metric.")
        good = indicator.ratioMetric.good.metricSource.spec
        return good.within_ns, good.measured_from
    assert indicator.thresholdMetric is not None
    if objective.op is None or objective.value is None:
        raise ValueError("needs op: lte and value, the limit of its thresholdMetric.")
    latency = indicator.thresholdMetric.metricSource.spec
    return round(objective.value * (1e6 if latency.unit == "ms" else 1e9)), latency.measured_from
