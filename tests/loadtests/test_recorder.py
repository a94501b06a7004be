"""What is on disk stays readable, whatever happens to the writer."""

import subprocess
import sys
import time

import pyarrow as pa
import pytest

from harness.history import requests
from loadtests.recorder import Recorder, Row
from tests.loadtests.conftest import ROOT, read_cut


def row(number, **changes):
    values = {
        "arrival": number,
        "scheduled_ns": number * 5_000_000,
        "sent_ns": number * 5_000_000 + 40_000,
        "first_byte_ns": None if number % 7 == 0 else number * 5_000_000 + 900_000,
        "end_ns": number * 5_000_000 + 1_000_000,
        "outcome": "timeout" if number % 7 == 0 else "ok",
        "error": "deadline" if number % 7 == 0 else None,
        "pod": f"detector-{number % 3}",
        "version": "1",
        "connection": "kept" if number % 2 else "new",
        "local_port": 40_000 + number % 1000,
        "attempts": 1,
        "user": number % 50,
        "protocol": "kserve-v2-http",
    }
    return Row(**values | changes)


def write(path, batches, size):
    recorder = Recorder(path)
    for batch in range(batches):
        for number in range(size):
            recorder.add(row(batch * size + number))
        recorder.flush()
    return recorder


def test_what_is_written_is_read_back(tmp_path):
    """Every column, nulls and texts that appear late, in the published schema."""
    path = tmp_path / "requests-0.arrows"
    recorder = write(path, 5, 30)
    recorder.add(row(150, pod="detector-new", outcome="http_503"))
    recorder.close()

    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all()

    assert table.schema.equals(requests.schema(), check_metadata=True)
    rows = [*(row(number) for number in range(150)), row(150, pod="detector-new", outcome="http_503")]
    assert table.to_pylist() == [one._asdict() for one in rows]
    assert recorder.written == 151


def test_every_time_of_a_record_is_moved_to_the_harness_clock(tmp_path):
    """Those of its attempts too; what was never, stays so."""
    path = tmp_path / "requests-0.arrows"
    recorder = Recorder(path)
    recorder.shift_ns = -1000
    recorder.add(row(7, tries=[(2000, 3000, "timeout", "kept", 40_000), (3500, 4000, "ok", "new", 40_001)], attempts=2))
    recorder.close()

    (read,) = read_cut(path.read_bytes())

    plain = row(7)
    assert [read[name] for name in ("scheduled_ns", "sent_ns", "end_ns")] == [
        time - 1000 for time in (plain.scheduled_ns, plain.sent_ns, plain.end_ns)
    ]
    assert read["first_byte_ns"] is None
    assert [(one["sent_ns"], one["end_ns"], one["local_port"]) for one in read["tries"]] == [
        (1000, 2000, 40_000),
        (2500, 3000, 40_001),
    ]


def test_a_new_file_is_readable_before_its_first_row(tmp_path):
    """A process that dies at once leaves an empty history, not an unreadable one."""
    Recorder(tmp_path / "requests-0.arrows")

    assert read_cut((tmp_path / "requests-0.arrows").read_bytes()) == []


def test_every_cut_leaves_the_whole_batches_before_it(tmp_path):
    """A torn tail, wherever it is torn, costs the batch that it tears and nothing else."""
    path = tmp_path / "requests-0.arrows"
    recorder = write(path, 3, 20)
    before = path.stat().st_size
    for number in range(60, 80):
        recorder.add(row(number, pod="detector-that-is-new"))
    recorder.flush()
    data = path.read_bytes()

    assert [one["arrival"] for one in read_cut(data)] == list(range(80))
    for cut in range(before, len(data), 7):
        assert [one["arrival"] for one in read_cut(data[:cut])] == list(range(60)), cut


def test_errors_of_ever_new_kinds_stay_bounded(tmp_path):
    """A server that invents a message for every request does not fill the memory of the load."""
    path = tmp_path / "requests-0.arrows"
    recorder = Recorder(path)
    for number in range(3000):
        recorder.add(row(number, error=f"kind {'x' * (number % 50)}{number:b}"))
        if number % 500 == 0:
            recorder.flush()
    recorder.close()

    errors = {one["error"] for one in read_cut(path.read_bytes())}

    assert len(errors) == 1001
    assert "(more kinds than are told apart)" in errors


def test_an_old_file_is_never_overwritten(tmp_path):
    """History is append-only: a second run into the same folder is refused."""
    write(tmp_path / "requests-0.arrows", 1, 1).close()

    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "requests-0.arrows")


def test_a_flush_is_too_short_to_make_an_arrival_late(tmp_path):
    """Twenty rows, as 200/s have them in 100 ms, take about 0.3 ms of CPU."""
    recorder = write(tmp_path / "requests-0.arrows", 3, 20)
    costs = []
    for batch in range(50):
        for number in range(20):
            recorder.add(row(batch * 20 + number))
        begin = time.thread_time_ns()
        recorder.flush()
        costs.append(time.thread_time_ns() - begin)

    assert sorted(costs)[25] < 1_000_000


def test_arrow_works_after_gevent_has_patched_the_library(tmp_path):
    """The load process patches first and imports pyarrow afterwards; a hub that runs beside it is not held up."""
    code = """
from gevent import monkey; monkey.patch_all()
import sys, pathlib, gevent, time
sys.path.insert(0, '.')
from tests.loadtests.test_recorder import write
from tests.loadtests.conftest import read_cut
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic()); gevent.sleep(0.001)
beside = gevent.spawn(tick)
gevent.sleep(0.05)
path = pathlib.Path(sys.argv[1])
recorder = write(path, 1, 20)
for _ in range(20):
    gevent.sleep(0.005)
    recorder.flush()
recorder.close()
assert len(read_cut(path.read_bytes())) == 20
assert len(ticks) > 50, len(ticks)
"""
    path = tmp_path / "requests-0.arrows"
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
