"""The engine of Bulletproof: what plans, runs, records and judges an experiment."""

__version__ = "0.1.0"
