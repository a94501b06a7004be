"""Label selectors as the API reads them."""

from __future__ import annotations

import pytest

from harness.measure.selectors import matches

LABELS = {"app": "detector", "tier": "gpu"}


@pytest.mark.parametrize(
    ("selector", "yes"),
    [
        ("", True),
        ("app=detector", True),
        ("app==detector", True),
        ("app=other", False),
        ("app!=other", True),
        ("missing!=x", True),
        ("app=detector,tier=gpu", True),
        ("app=detector,tier=cpu", False),
        ("app in (a, detector)", True),
        ("app in (a,b),tier=gpu", False),
        ("app notin (a, b)", True),
        ("tier", True),
        ("!tier", False),
        ("missing", False),
        ("!missing", True),
    ],
)
def test_labels_match_or_not(selector, yes):
    """Equality, sets, existence."""
    assert matches(selector, LABELS) is yes


def test_what_is_not_understood_is_an_error():
    """Never a silent match."""
    with pytest.raises(ValueError, match="not understood"):
        matches("app > 3", LABELS)
