"""The truth about the instrument: a scripted server misbehaves at known moments, and what is judged is held against it.

`python -m tests.truth.courses` runs all courses and writes the table of docs/truth.md.
"""
