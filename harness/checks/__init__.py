"""The checks: pure functions from what was measured to an answer, one question a file."""
