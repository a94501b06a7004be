"""The load process says what it does, and does what it is told."""

import collections

SECOND = 1_000_000_000


def test_a_run_from_ready_to_done_has_one_record_for_each_arrival(load):
    """Every arrival in [start, stop) is one row; a healthy server answers all of them rightly."""
    process = load()

    done, rows = process.run(2)

    ready = process.wait("ready")
    assert ready["users"] == 60
    assert ready["scheduler"] in ("SCHED_FIFO", "SCHED_OTHER")
    assert done["arrivals"] == done["records"] == len(rows)
    assert sorted(row["arrival"] for row in rows) == list(range(len(rows)))
    assert {row["outcome"] for row in rows} == {"ok"}, collections.Counter(
        (row["outcome"], row["error"]) for row in rows
    )
    assert all(done["start_ns"] <= row["scheduled_ns"] < done["stop_ns"] for row in rows)
    assert all(row["scheduled_ns"] <= row["sent_ns"] <= row["first_byte_ns"] <= row["end_ns"] for row in rows)
    assert {(row["pod"], row["version"]) for row in rows} == {("scripted-1", "1")}
    assert all(row["attempts"] == 1 and row["local_port"] > 0 for row in rows)
