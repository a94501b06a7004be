"""When service was lost and when it was back, from the requests alone.

An *outage* is a row of bad requests in which no stretch of good ones lasted for the hold time. *Recovery* is the end of
the first outage after the fault's start: after the last bad arrival, by the first good one (where only a part of the
requests was bad: by the good one that makes it sure, see `surely_over`). What fails again later is a *relapse*.
Requests that the load generator could not judge (`known` is false) end no outage and begin none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.history.columns import Ints, Mask, of
from harness.measure.noise import find_noise

LUCK = 1e-3  # chance that an outage which harms a part of the requests is taken for over while it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Bad requests with no stretch of good ones between them that lasted for the hold time."""

    first_ns: int  # first bad request, scheduled
    last_ns: int  # last bad request, scheduled
    by_ns: int | None  # a good one after it, scheduled (or sent, where that was later), by which it was over
    bad: int  # requests
    held: bool  # the hold time passed after it, and was seen to be good

    @property
    def end_ns(self) -> int:
        """The earliest moment at which it may have ended."""
        return self.last_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """When service was back: after the last bad arrival, by the first good one. Absolute monotonic ns."""

    start_ns: int  # proven start of the fault's effect
    after_ns: int  # last bad request of the first outage; the start itself where there is none
    by_ns: int | None  # the request of the stretch that stayed good by which it is sure, as above; None: none came
    held: bool  # that stretch was seen to last for the hold time
    outages: tuple[Outage, ...]  # all of them, relapses included, noise and aftershocks not
    noise: int  # bad requests of the run that are no more than what the baseline had

    @property
    def relapses(self) -> tuple[Outage, ...]:
        """Outages after the first recovery."""
        return self.outages[1:]


def find_outages(times: Ints, wrong: Mask, hold_ns: int, end_ns: int) -> list[Outage]:
    """The outages among requests that count, in order of their scheduled times. The observation ends at `end_ns`."""
    at = np.flatnonzero(wrong)
    if not len(at):
        return []
    after = np.minimum(at + 1, len(times) - 1)  # the request after each bad one; the last may have none
    nexts = np.append(times[at[1:]], np.int64(end_ns))
    # The stretch after a bad request lasts from the first good one to the next bad one (or to the end).
    stretch = np.where(wrong[after] | (at + 1 >= len(times)), -1, nexts - times[after])
    ends = np.flatnonzero(stretch >= hold_ns)
    if not len(ends) or ends[-1] != len(at) - 1:
        ends = np.append(ends, len(at) - 1)
    outages = []
    begin = 0
    for end in ends.tolist():
        last = int(at[end])
        follows = last + 1 < len(times)
        outages.append(
            Outage(
                first_ns=int(times[at[begin]]),
                last_ns=int(times[last]),
                by_ns=int(times[last + 1]) if follows else None,
                bad=end - begin + 1,
                held=bool(stretch[end] >= hold_ns),
            )
        )
        begin = end + 1
    return outages


def surely_over(outage: Outage, times: Ints, wrong: Mask, hold_ns: int) -> Outage:
    """The outage with the request by which it was over. `times` and `wrong` are of all requests that count.

    Where everything was bad, at least in the end, the first good request says it. Where a part was bad (one gray pod of
    three) the next request may have been good by luck: as many good ones in a row are needed as luck gives once in a
    thousand times, and no more than the hold time. Seen with one gray backend of three: 34 ms too early without it.
    """
    if outage.by_ns is None:
        return outage
    begin = int(np.searchsorted(times, outage.first_ns, side="left"))
    last = int(np.searchsorted(times, outage.last_ns, side="right")) - 1
    share = outage.bad / (last - begin + 1)
    if share >= 1:
        return outage
    row = 1 + math.ceil(math.log(LUCK) / math.log(share))  # so many bad ones in a row are no luck either
    if row <= last - begin and wrong[last - row + 1 : last + 1].all():
        return outage
    needed = math.ceil(math.log(LUCK) / math.log(1 - share))
    held = int(np.searchsorted(times, outage.by_ns + hold_ns, side="left")) - 1
    return replace(outage, by_ns=int(times[min(last + needed, held)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What recovery is found in: requests sorted by scheduled time, and how the baseline was."""

    scheduled_ns: Ints
    sent_ns: Ints
    bad: Mask
    known: Mask  # rows that say good or bad; the others are passed over
    never_noise: Mask  # bad rows of a kind that the baseline did not have
    in_flight_bad: bool  # a request that was under way when the first fault struck ended badly
    hold_ns: int
    end_ns: int  # of the observation
    baseline_requests: int
    baseline_bad: int


def recover_each(seen: Observed, starts: list[tuple[int, int | None]], until_ns: int) -> tuple[Recovery, ...]:
    """One recovery for each group of strikes, given as (struck, first proof), in order of time.

    Strikes closer together than the hold time are one group: nothing could be told apart. `until_ns` is where the undo
    begins: an outage that begins later is not the fault's.
    """
    groups = [starts[0]] if starts else []
    for struck, proven in starts[1:]:
        if struck - groups[-1][0] >= seen.hold_ns:
            groups.append((struck, proven))
    first_ns = groups[0][0] if groups else 0
    noise = find_noise(
        seen.scheduled_ns,
        seen.bad,
        seen.known,
        [struck for struck, _ in groups],
        hold_ns=seen.hold_ns,
        baseline_requests=seen.baseline_requests,
        baseline_bad=seen.baseline_bad,
    )
    noise &= ~seen.never_noise
    known = seen.known & ~noise & (seen.scheduled_ns >= first_ns)
    since = slice(int(np.searchsorted(seen.scheduled_ns, first_ns)), None)
    times, wrong = of(seen.scheduled_ns[since], known[since]), seen.bad[known]
    outages = [
        _proven(seen, surely_over(outage, times, wrong, seen.hold_ns))
        for outage in find_outages(times, wrong, seen.hold_ns, seen.end_ns)
    ]
    found = []
    for number, (struck, proven) in enumerate(groups):
        next_ns = groups[number + 1][0] if number + 1 < len(groups) else until_ns
        own = [outage for outage in outages if struck <= outage.first_ns < next_ns]
        in_flight_bad = seen.in_flight_bad and number == 0
        found.append(_recover(seen, known, own, struck, proven, int(noise.sum()), in_flight_bad))
    return tuple(found)


def _proven(seen: Observed, outage: Outage) -> Outage:
    """A good answer says nothing about the time before its request was sent: what was sent late proves later."""
    return outage if outage.by_ns is None else replace(outage, by_ns=_when_sent(seen, outage.by_ns))


def _when_sent(seen: Observed, scheduled_ns: int) -> int:
    row = int(np.searchsorted(seen.scheduled_ns, scheduled_ns))
    return max(scheduled_ns, int(seen.sent_ns[row]))


def _recover(
    seen: Observed, known: Mask, outages: list[Outage], struck: int, proven: int | None, noise: int, in_flight_bad: bool
) -> Recovery:
    first_bad = outages[0].first_ns if outages else None
    shown = [moment for moment in (proven, first_bad) if moment is not None]
    start = struck if in_flight_bad else max(struck, min(shown, default=struck))
    if outages:
        after_ns, by_ns, held = outages[0].last_ns, outages[0].by_ns, outages[0].held
    else:
        rows = known & (seen.scheduled_ns >= start)
        after_ns = start
        by_ns = _when_sent(seen, int(seen.scheduled_ns[rows.argmax()])) if rows.any() else None
        held = by_ns is not None and seen.end_ns - by_ns >= seen.hold_ns
    return Recovery(start_ns=start, after_ns=after_ns, by_ns=by_ns, held=held, outages=tuple(outages), noise=noise)
