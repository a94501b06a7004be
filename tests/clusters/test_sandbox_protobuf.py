"""Protobuf bodies: read as JSON would be, and never half."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters.sandbox import protobuf
from clusters.sandbox.errors import ApiError


def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def put(number, value):
    """A field: text, bytes or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(api, kind, raw):
    return b"k8s\0" + put(1, put(1, api) + put(2, kind)) + put(2, raw)


def test_a_pod_with_everything_that_is_written_differently():
    """Inlined messages, maps, quantities, ports by name, times, empty strings."""
    probe = put(1, put(2, put(1, "/ready") + put(2, put(1, 1) + put(2, 0) + put(3, "web")))) + put(3, 2)
    limits = put(1, put(1, "cpu") + put(2, put(1, "500m")))
    container = put(1, "main") + put(2, "i:1") + put(5, "") + put(8, limits) + put(11, probe)
    volume = put(1, "data") + put(2, put(2, b""))
    meta = put(1, "a") + put(2, "") + put(8, b"") + put(9, put(1, 1700000000)) + put(11, put(1, "k") + put(2, "v"))
    raw = put(1, meta) + put(2, put(1, volume) + put(2, container) + put(4, 0))

    assert protobuf.decode(body("v1", "Pod", raw)) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "deletionTimestamp": "2023-11-14T22:13:20Z", "labels": {"k": "v"}},
        "spec": {
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main",
                    "image": "i:1",
                    "resources": {"limits": {"cpu": "500m"}},
                    "readinessProbe": {
                        "httpGet": {"path": "/ready", "port": "web"},
                        "timeoutSeconds": 2,
                    },
                }
            ],
            "terminationGracePeriodSeconds": 0,
        },
    }


@given(st.binary(max_size=60))
def test_garbage_is_refused_and_never_crashes(raw):
    """Whatever comes: an object, or an error of the client's."""
    try:
        protobuf.decode(body("v1", "ConfigMap", raw))
        protobuf.decode(b"k8s\0" + raw)
    except ApiError as error:
        assert error.code in (400, 415)


def test_kinds_and_envelopes_it_does_not_know_are_named():
    """415 for a kind without numbers, 400 for what is no envelope."""
    with pytest.raises(ApiError) as unknown:
        protobuf.decode(body("example.com/v1", "Thing", b""))
    with pytest.raises(ApiError) as plain:
        protobuf.decode(b"{}")

    assert (unknown.value.code, plain.value.code) == (415, 400)
