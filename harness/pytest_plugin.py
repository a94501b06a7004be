"""Experiments as pytest tests."""
