"""The record of one run: a folder of append-only files. `docs/history.md` describes the format."""
