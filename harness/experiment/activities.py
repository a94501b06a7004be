"""Whether the functions that an experiment names exist and take its arguments: chaoslib's own validation, with lines.

chaoslib imports the modules to see. It raises its own errors for what it foresees, and AttributeError, TypeError or
anything that a module raises while it is imported for the rest; all of them are told as errors of the file.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import FileError
from harness.experiment.positions import Document, Path
from harness.experiment.wrong import error_at, nearest


def activity_errors(document: Document) -> list[FileError]:
    """What chaoslib has against the file, and what it lets pass that would fail in the run."""
    from chaoslib.activity import ensure_activity_is_valid
    from chaoslib.experiment import ensure_experiment_is_valid

    wrong: list[FileError] = []
    known = _variables(document.data)
    with _quiet():
        for section in ("method", "rollbacks"):
            for index, activity in enumerate(document.data.get(section) or []):
                place: Path = (section, index)
                try:
                    ensure_activity_is_valid(copy.deepcopy(activity))
                except Exception as error:  # noqa: BLE001 - chaoslib imports foreign modules: anything may come
                    wrong.append(_error(document, place, activity, error))
                wrong += _unknown_variables(document, place, activity, known)
        if not wrong:
            try:
                ensure_experiment_is_valid(copy.deepcopy(document.data))
            except Exception as error:  # noqa: BLE001 - it raises AttributeError and TypeError as well as its own
                wrong.append(FileError(f"{_sentence(error)}", file=document.file, line=1))
    return wrong


def _error(document: Document, place: Path, activity: dict[str, Any], error: Exception) -> FileError:
    provider = activity.get("provider", {})
    module, func = provider.get("module"), provider.get("func")
    field: Path = (*place, "provider")
    message, hint = _sentence(error), ""
    if "could not find Python module" in message:
        field, message = (*field, "module"), f'there is no module "{module}" here.'
        hint = (
            "Did you mean harness.faults?" if nearest(str(module), ["harness.faults"]) else "Is its package installed?"
        )
    elif "does not expose a function" in message:
        field, message = (*field, "func"), f'{module} has no function "{func}".'
        functions = _functions(str(module))
        near = nearest(str(func), functions)
        hint = f"Did you mean {near}?" if near else f"It has: {', '.join(functions)}." if functions else ""
    elif (match := re.search(r"argument '?(\w+)'? is not part", message)) or (
        match := re.search(r"required argument '?(\w+)'?", message)
    ):
        argument = match[1]
        parameters = _parameters(str(module), str(func))
        missing = "required argument" in message
        field = (*field, "arguments") if missing else (*field, "arguments", argument)
        message = f"{argument} is missing." if missing else f"{func} takes no such argument."
        near = nearest(argument, parameters)
        hint = "" if missing else f"Did you mean {near}?" if near else f"It takes: {', '.join(parameters)}."
    return error_at(document, field, message, hint)


def _sentence(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if type(error).__module__.startswith("chaoslib"):
        return text if text.endswith(".") else f"{text}."
    return f"{type(error).__name__}: {text}."


def _functions(module: str) -> list[str]:
    """The public functions of a module; empty where it cannot be imported."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return []
    return [name for name, _ in inspect.getmembers(found, inspect.isfunction) if not name.startswith("_")]


def _parameters(module: str, func: str) -> list[str]:
    found = getattr(importlib.import_module(module), func)
    return [name for name in inspect.signature(found).parameters if name not in ("configuration", "secrets")]


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _variables(data: dict[str, Any]) -> set[str]:
    """Names that ${name} may stand for: configuration, and the second level of secrets."""
    names = set(data.get("configuration") or {})
    for group in (data.get("secrets") or {}).values():
        if isinstance(group, dict):
            names |= set(group)
    return names


def _unknown_variables(document: Document, place: Path, activity: Any, known: set[str]) -> Iterator[FileError]:
    """chaoslib leaves an unknown ${name} as it stands, and a fault would look for a pod of that name."""
    for path, text in _texts(activity, place):
        for name in _VARIABLE.findall(text):
            if name not in known:
                near = nearest(name, known)
                hint = f"Did you mean ${{{near}}}?" if near else "Define it under configuration."
                yield error_at(document, path, f"${{{name}}} is not defined.", hint)


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


@contextmanager
def _quiet() -> Iterator[None]:
    """chaoslib says "Validating the experiment's syntax" to everyone's log; errors are told by us."""
    logger = logging.getLogger("chaostoolkit")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def signatures(module: str) -> list[tuple[str, str, str]]:
    """The public functions of a module: name, parameters as text, first line of the docstring."""
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None) or _functions(module)
    rows = []
    for name in names:
        function = getattr(found, name)
        if inspect.isfunction(function):
            parameters = [
                p for p in inspect.signature(function).parameters.values() if p.name not in ("configuration", "secrets")
            ]
            shown = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
            rows.append((name, f"({shown})", (inspect.getdoc(function) or "").split("\n")[0]))
    return rows
