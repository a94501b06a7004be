"""The record of one request, and the columnar schema that `requests-<worker>.arrows` is written in.

The file is an Arrow IPC *stream* (not the IPC file format, whose footer a killed writer never gets to write): every
record batch that is on disk is readable, whatever happens after it.
All times are CLOCK_MONOTONIC nanoseconds of the machine that ran the load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1

# Outcomes. `http_<code>` and `grpc_<code>` (grpc_UNAVAILABLE) stand beside these.
OK = "ok"
TIMEOUT = "timeout"
REFUSED = "refused"
RESET = "reset"
TRUNCATED = "truncated"
WRONG_ANSWER = "wrong_answer"
NOT_SENT = "not_sent"  # the schedule had it, the load generator could not send it in time
UNREACHABLE = "unreachable"  # no route, DNS failure and the like
ERROR = "error"  # anything else; `error` has its signature
CANCELLED = "cancelled"  # of an attempt alone: another attempt of the same request was answered first

NEW = "new"
KEPT = "kept"


def schema() -> pa.Schema:
    """The columns of a request, in order. pyarrow is imported late: `bulletproof --help` must not wait for it."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    tries = pa.list_(
        pa.struct(
            [
                pa.field("sent_ns", pa.int64(), nullable=False),
                pa.field("end_ns", pa.int64(), nullable=False),
                pa.field("outcome", pa.string(), nullable=False),
                pa.field("connection", pa.string(), nullable=False),
                pa.field("local_port", pa.int32()),
            ]
        )
    )
    return pa.schema(
        [
            pa.field("arrival", pa.int64(), nullable=False),  # number in the schedule; a gap is a lost record
            pa.field("scheduled_ns", pa.int64(), nullable=False),
            pa.field("sent_ns", pa.int64()),  # first attempt handed to the client; null: not_sent
            pa.field("first_byte_ns", pa.int64()),  # of the answer; null: none came
            pa.field("end_ns", pa.int64()),  # answer complete and checked, or given up; null: not_sent
            pa.field("outcome", text, nullable=False),
            pa.field("error", text),  # a short signature where outcome is not ok
            pa.field("pod", text),  # that answered, as the answer itself says
            pa.field("version", text),  # of the model that answered
            pa.field("connection", text, nullable=False),  # new or kept
            pa.field("local_port", pa.int32()),
            pa.field("attempts", pa.int16(), nullable=False),  # 1 unless retried or hedged; 0: not_sent
            pa.field("user", pa.int32(), nullable=False),  # Locust user that took it
            pa.field("protocol", text, nullable=False),
            pa.field("tries", tries),  # every attempt in the order of sending; null: there was one at most
        ],
        metadata={"bulletproof.format": str(FORMAT)},
    )
