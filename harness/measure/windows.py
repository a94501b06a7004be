"""How many moments fall in each window of time."""

from __future__ import annotations

import numpy as np

from harness.history.columns import Ints


def per_window(times_ns: Ints, begin_ns: int, size_ns: int, until_ns: int) -> Ints:
    """Of times in order, by window: the first begins at `begin_ns`, the last one holds `until_ns`.

    The edges are looked up in the times: there are far fewer of them. Raises ValueError for a time before the first.
    """
    if len(times_ns) and times_ns[0] < begin_ns:
        raise ValueError("a moment lies before the first window")
    edges = begin_ns + size_ns * np.arange((until_ns - begin_ns) // size_ns + 2, dtype=np.int64)
    return np.diff(np.searchsorted(times_ns, edges)).astype(np.int64, copy=False)
