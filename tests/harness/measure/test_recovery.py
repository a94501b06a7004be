"""Outages and recovery, against the definition spelled out slowly, and against courses with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.noise import find_noise
from harness.measure.recovery import Observed, find_outages, recover_each

S = 1_000_000_000


def by_definition(times, bad, known, hold, end):
    """(first, last, by, number, held) of each outage, walking from request to request."""
    rows = [(int(time), bool(wrong)) for time, wrong, said in zip(times, bad, known, strict=True) if said]
    found = []
    current = None
    for number, (time, wrong) in enumerate(rows):
        if wrong:
            current = (
                [time, time, None, 1, False] if current is None else [current[0], time, None, current[3] + 1, False]
            )
        elif current is not None:
            current[2] = current[2] or time
            later = [other for other, also in rows[number:] if also]
            stays_until = later[0] if later else end
            if stays_until - current[2] >= hold:
                current[4] = True
                found.append(tuple(current))
                current = None
            else:
                current[2] = current[2] if not later else None
    if current is not None:
        found.append(tuple(current))
    return found


@settings(max_examples=400, deadline=None)
@given(
    gaps=st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=60),
    flags=st.lists(st.sampled_from(["good", "good", "good", "bad", "unknown"]), min_size=60, max_size=60),
    hold=st.integers(min_value=1, max_value=200),
    after=st.integers(min_value=1, max_value=200),
)
def test_outages_are_what_the_definition_says(gaps, flags, hold, after):
    """Vectorised and spelled out agree, whatever the course."""
    times = np.cumsum(np.array(gaps, dtype=np.int64))
    flags = flags[: len(times)]
    bad = np.array([flag == "bad" for flag in flags])
    known = np.array([flag != "unknown" for flag in flags])
    end = int(times[-1]) + after

    found = find_outages(times[known], bad[known], hold, end)

    assert [(one.first_ns, one.last_ns, one.by_ns, one.bad, one.held) for one in found] == by_definition(
        times, bad, known, hold, end
    )


def observed(times, bad, **changes):
    """200 requests per second, a clean baseline."""
    values = {
        "scheduled_ns": times,
        "bad": bad,
        "known": np.ones(len(times), dtype=bool),
        "never_noise": np.zeros(len(times), dtype=bool),
        "in_flight_bad": False,
        "hold_ns": 2 * S,
        "end_ns": int(times[-1]) + 1,
        "baseline_requests": 3000,
        "baseline_bad": 0,
    }
    values = {**values, **changes}
    return Observed(**{"sent_ns": values["scheduled_ns"], **values})


TIMES = np.arange(0, 30 * S, S // 200, dtype=np.int64)


def between(*spans):
    """Bad in [from, to) seconds."""
    bad = np.zeros(len(TIMES), dtype=bool)
    for begin, end in spans:
        bad |= (begin * S <= TIMES) & (end * S > TIMES)
    return bad


def test_a_good_request_proves_from_when_it_was_sent():
    """One that left 30 ms late met a service that may have come back meanwhile."""
    sent = TIMES + np.where((TIMES >= 3 * S) & (TIMES < 3.2 * S), 30_000_000, 0)

    (recovery,) = recover_each(observed(TIMES, between((0, 3)), sent_ns=sent), [(0, None)], 25 * S)

    assert recovery.by_ns == 3 * S + 30_000_000


@settings(max_examples=100, deadline=None)
@given(begin=st.floats(0, 5), length=st.floats(0.02, 15))
def test_the_interval_contains_the_truth(begin, length):
    """The true end of an outage lies between the last bad and the first good arrival, one gap apart."""
    end = begin + length
    (recovery,) = recover_each(observed(TIMES, between((begin, end))), [(0, None)], 25 * S)

    assert recovery.after_ns < end * S <= recovery.by_ns
    assert recovery.by_ns - recovery.after_ns == S // 200
    assert recovery.held


def test_without_a_bad_request_service_was_never_away():
    """The interval begins with the start itself."""
    (recovery,) = recover_each(observed(TIMES, between()), [(S, S + 50_000_000)], 25 * S)

    assert (recovery.after_ns, recovery.by_ns) == (S + 50_000_000, S + 50_000_000)
    assert recovery.outages == ()


def test_clients_see_a_fault_before_its_evidence_does():
    """A frozen node turns NotReady after 40 s; its clients lost requests from the first moment on."""
    (recovery,) = recover_each(observed(TIMES, between((1, 16))), [(S, 20 * S)], 25 * S)

    assert recovery.start_ns == S
    assert recovery.by_ns == 16 * S


def test_evidence_before_the_first_bad_request_is_the_start():
    """An outage that begins late has been a fault all along."""
    (recovery,) = recover_each(observed(TIMES, between((3, 4))), [(S, S + 100_000_000)], 25 * S)

    assert recovery.start_ns == S + 100_000_000
    assert recovery.by_ns == 4 * S


def test_a_request_under_way_that_dies_with_the_fault_starts_the_clock():
    """Its scheduled time is before the strike; the effect cannot be later than the strike."""
    (recovery,) = recover_each(observed(TIMES, between(), in_flight_bad=True), [(S, 2 * S)], 25 * S)

    assert recovery.start_ns == S


def test_flapping_within_the_hold_time_is_one_outage():
    """Up for 1.5 s is not up, with a hold of 2 s."""
    (recovery,) = recover_each(observed(TIMES, between((1, 2), (3.5, 4), (5.5, 6))), [(S, None)], 25 * S)

    assert recovery.by_ns == 6 * S
    assert recovery.relapses == ()


def test_a_later_outage_is_a_relapse():
    """Up for more than the hold time, then down again before the undo."""
    (recovery,) = recover_each(observed(TIMES, between((1, 2), (10, 11))), [(S, None)], 25 * S)

    assert recovery.by_ns == 2 * S
    assert [(one.first_ns, one.by_ns) for one in recovery.relapses] == [(10 * S, 11 * S)]


def test_an_outage_after_the_undo_is_not_the_faults():
    """The settle phase judges it."""
    (recovery,) = recover_each(observed(TIMES, between((1, 2), (26, 27))), [(S, None)], 25 * S)

    assert recovery.relapses == ()


def test_a_second_strike_has_a_recovery_of_its_own():
    """Each is counted from its own start."""
    first, second = recover_each(
        observed(TIMES, between((1, 2), (10.5, 13))), [(S, None), (10 * S, 10 * S + 1)], 25 * S
    )

    assert (first.by_ns, second.by_ns) == (2 * S, 13 * S)
    assert second.start_ns == 10 * S + 1


def test_a_single_bad_request_as_the_baseline_had_them_is_noise():
    """One in 3000 before, one in 5000 after: no relapse."""
    bad = between((1, 2))
    bad[3000] = True

    (recovery,) = recover_each(observed(TIMES, bad, baseline_bad=1), [(S, None)], 25 * S)

    assert (recovery.noise, recovery.relapses) == (1, ())


@pytest.mark.parametrize(
    ("rows", "baseline_bad", "why"),
    [
        ([3000], 0, "the baseline had none"),
        ([3000, 3001, 3002], 1, "three in a row are an outage"),
        (range(1000, 5000, 200), 1, "more of them than the baseline had"),
    ],
)
def test_what_the_baseline_does_not_explain_is_no_noise(rows, baseline_bad, why):
    """Noise needs the baseline as its witness."""
    bad = between((1, 2))
    bad[list(rows)] = True

    (recovery,) = recover_each(observed(TIMES, bad, baseline_bad=baseline_bad), [(S, None)], 25 * S)

    assert recovery.noise == 0, why
    assert recovery.relapses, why


def test_a_bad_request_right_after_the_strike_is_never_noise():
    """Within the hold time it is the fault's."""
    (recovery,) = recover_each(observed(TIMES, between((1.5, 1.505)), baseline_bad=3), [(S, None)], 25 * S)

    assert (recovery.noise, len(recovery.outages)) == (0, 1)


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.05])
def test_a_noisy_platform_is_not_failed_for_its_noise(share):
    """Independent bad requests, as frequent after as before: in nearly all runs no relapse is made up."""
    rng = np.random.default_rng(5)
    made_up = 0
    for _ in range(100):
        noisy = rng.random(len(TIMES)) < share
        before = int((rng.random(3000) < share).sum())
        (recovery,) = recover_each(observed(TIMES, noisy | between((1, 2)), baseline_bad=before), [(S, None)], 25 * S)
        made_up += any(outage.bad > 1 for outage in recovery.relapses) and before > 0

    assert made_up <= 12, f"{made_up} of 100"


@settings(max_examples=100, deadline=None)
@given(
    share=st.sampled_from([0.0005, 0.005, 0.05]),
    begin=st.floats(4, 20),
    length=st.floats(0.3, 4),
    seed=st.integers(0, 10_000),
)
def test_a_relapse_is_never_taken_for_noise(share, begin, length, seed):
    """However noisy the platform is: when everything fails for 0.3 s that is an outage."""
    rng = np.random.default_rng(seed)
    noisy = rng.random(len(TIMES)) < share
    bad = noisy | between((1, 2), (begin, begin + length))

    noise = find_noise(
        TIMES, bad, np.ones(len(TIMES), dtype=bool), [S], hold_ns=2 * S, baseline_requests=3000,
        baseline_bad=int(3000 * share) + 1,
    )  # fmt: skip

    assert not (noise & between((begin, begin + length))).any()


def test_requests_that_say_nothing_end_no_outage():
    """A load generator that stalls during an outage has not seen its end."""
    bad = between((1, 3))
    known = ~between((3, 5))

    (recovery,) = recover_each(observed(TIMES, bad, known=known), [(S, None)], 25 * S)

    assert (recovery.after_ns, recovery.by_ns) == (3 * S - S // 200, 5 * S)


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.9])
def test_the_interval_of_a_partial_outage_contains_the_truth_too(share):
    """With one gray pod of three the first good request says little: the interval must not end before the outage.

    Requested is a chance of 1 in 1000 of an error; the share itself is estimated from what was bad.
    """
    whole = between((1, 4))
    last_met = TIMES[whole][-1]
    chosen = np.random.default_rng(20261121)
    missed = 0
    for _ in range(500):
        bad = whole & (chosen.random(len(TIMES)) < share)
        (recovery,) = recover_each(observed(TIMES, bad), [(S, None)], 25 * S)
        assert recovery.after_ns <= last_met
        missed += recovery.by_ns <= last_met

    assert missed <= 3


def test_a_whole_outage_is_as_sharp_as_its_arrivals_whatever_was_before():
    """A partial beginning, as of connections that were still good, does not blur the end."""
    partial = between((1, 2)) & (np.arange(len(TIMES)) % 3 == 0)
    (recovery,) = recover_each(observed(TIMES, partial | between((2, 4))), [(S, None)], 25 * S)

    assert recovery.by_ns == 4 * S
