"""Did anybody get a wrong answer?"""

from __future__ import annotations

from harness.checks.answer import Answer, count, failed, invalid, passed


def wrong_answers(wrong: int, answers: int, limit: int, first_ns: int | None) -> Answer:
    """At most `limit` answers of the whole run differ from the golden ones."""
    if not answers:
        return invalid("no answer came that could be compared with a golden one")
    seen = f"{count(wrong, 'wrong answer')} of {answers:,}"
    if wrong > limit:
        why = f"{count(wrong, 'answer')} {'was' if wrong == 1 else 'were'} wrong, at most {limit:,} may be"
        return failed(seen, why, at_ns=first_ns, wrong=wrong)
    return passed(seen, at_ns=first_ns, wrong=wrong)
