"""Is there a pod that counts as ready and serves its clients worse than the others do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.gray import Served


def gray_pods(served: Sequence[Served] | None, limit: int) -> Answer:
    """At most `limit` pods that were ready all the time are gray. None: no pod was watched, or nothing struck."""
    if served is None:
        return invalid("the watches do not say which pods were ready from the fault to the undo")
    if len(served) < 2:
        return invalid(
            f"{count(len(served), 'pod')} stayed ready from the fault to the undo: there are no others to compare with"
        )
    gray = [pod for pod in served if pod.gray]
    mute = [pod.name for pod in served if not pod.requests and not pod.gray]
    seen = "; ".join(f"{pod.name}: {pod.gray}" for pod in gray) or f"none of {len(served)}"
    figures: dict[str, Any] = {"gray": [pod.name for pod in gray], "compared": [pod.name for pod in served]}
    if len(gray) > limit:
        why = f"{count(len(gray), 'pod')} served worse than the others while ready, at most {limit} may"
        return failed(seen, why, **figures)
    if len(gray) + len(mute) > limit:
        why = f"no answer names {', '.join(mute)}: how well it served is not known"
        return invalid(why, seen=seen, hint="answers name their pod in the response parameter pod", **figures)
    return passed(seen, **figures)
