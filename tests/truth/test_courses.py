"""A scripted server misbehaves from t1 to t2: what is judged of the real load's records contains t1 and t2.

Within one arrival gap (of the requests that could have met it) and 5 ms; no outage is missed and none invented; every
request on record is what the server did to it; a promise that was broken is never PASSED, a kept one never FAILED.
"""

from __future__ import annotations

import pytest

from tests.truth.courses.compare import compare_all
from tests.truth.courses.judged import complete
from tests.truth.courses.offer import offer
from tests.truth.courses.plan import batches, quick, quick_calls
from tests.truth.courses.truth import Requests


def judged_wrongly(batch, folder):
    """{course: in which ways}."""
    offered = offer(batch, folder / "load", bystanders=False)
    assert complete(offered, Requests(offered)), offered.done
    compared = compare_all(offered, folder / "judged")
    assert len(compared) == len(batch.courses)
    return {f"{one.course.name} {one.course.family}": one.faults for one in compared if one.faults}


def test_a_few_courses_are_judged_as_they_were(tmp_path):
    """A dead server, a hang, wrong numbers, one gray backend of three, kept connections only, and a control."""
    assert judged_wrongly(quick(), tmp_path) == {}


def test_a_course_under_grpc_is_judged_as_it_was(tmp_path):
    """New connections hang: their requests are bad, from the first to the last, and those on kept ones are not."""
    assert judged_wrongly(quick_calls(), tmp_path) == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", batches(), ids=lambda batch: batch.name)
def test_all_courses_are_judged_as_they_were(batch, tmp_path):
    """Everything that a server can do wrong, from 20 ms to 30 s."""
    assert judged_wrongly(batch, tmp_path) == {}
