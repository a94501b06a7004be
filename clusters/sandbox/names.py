"""Which names, label keys and label values are well formed."""

from __future__ import annotations

import re

from clusters.sandbox.causes import Faults
from clusters.sandbox.objects import Object

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
DNS_LABEL = re.compile(_LABEL)
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
SAID_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
SAID_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SAID_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def qualified(key: str) -> bool:
    """Whether a key is a name of at most 63 characters, with a domain and a slash before it or without."""
    prefix, slash, name = key.rpartition("/")
    return bool(_QUALIFIED.fullmatch(name)) and len(name) <= 63 and (not slash or bool(SUBDOMAIN.fullmatch(prefix)))


def labels(given: Object, path: str, faults: Faults) -> None:
    """Keys are qualified names, values at most 63 plain characters."""
    for key, value in given.items():
        if not qualified(key):
            why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            faults.invalid(path, key, f"{why}alphanumeric character")
        if not _VALUE.fullmatch(value):
            faults.invalid(path, value, _SAID_VALUE)
        elif len(value) > 63:
            faults.invalid(path, value, "must be no more than 63 bytes")
