"""What `bulletproof list checks` shows, read from the checks themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil


def catalogue() -> list[dict[str, str]]:
    """Each check: its name, what it is called with, and the first line of what it says."""
    from harness import checks
    from harness.checks.answer import Answer

    rows = []
    for found in pkgutil.iter_modules(checks.__path__):
        module = importlib.import_module(f"harness.checks.{found.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if own and function.__annotations__.get("return") in (Answer, "Answer") and found.name != "answer":
                rows.append({"name": name, "kind": "", "title": (inspect.getdoc(function) or "").split("\n")[0]})
    return sorted(rows, key=lambda row: row["name"])
