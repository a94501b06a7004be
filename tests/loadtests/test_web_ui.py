"""Locust's web UI shows the load, and changes nothing of it."""

import json
import time
import urllib.error
import urllib.request

import pytest

from tests.loadtests.conftest import SECOND
from tests.loadtests.test_protocol import whole


def get(address, path):
    with urllib.request.urlopen(f"{address}{path}", timeout=10) as answer:
        return answer.read().decode()


def counted(address):
    return json.loads(get(address, "/stats/requests"))["stats"][-1]["num_requests"]


@pytest.mark.parametrize(("options", "workers"), [((), 1), pytest.param(("--master",), 2, marks=pytest.mark.slow)])
def test_its_counts_grow_and_its_buttons_do_nothing(load, options, workers):
    """The arrivals are those of the schedule, from the start to the stop that the harness gave."""
    process = load(options, workers=workers, web_ui=0, users=20, timeout_ns=5 * SECOND)
    address = process.wait("web_ui")["address"]
    start_ns = process.start(lead_s=0.5)
    process.wait("live", lambda line: line["ok"] > 10)

    for path, form in (("/stop", b""), ("/swarm", b"user_count=1&spawn_rate=1"), ("/stats/reset", b"")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}{path}", data=form, timeout=10)
        assert refused.value.code == 403
        assert "belongs to the run" in refused.value.read().decode()

    first, deadline = counted(address), time.monotonic() + 30
    while counted(address) <= first:
        assert time.monotonic() < deadline, "the counts do not grow"
        time.sleep(0.1)
    assert "Locust" in get(address, "/")
    process.say(stop_ns=time.monotonic_ns() + 2 * SECOND)
    done = process.wait("done")
    assert process.process.wait(timeout=30) == 0
    assert done["start_ns"] == start_ns
    if workers == 1:
        rows = process.rows()
        assert whole(done, rows)
        assert not [row for row in rows if row["outcome"] not in ("ok", "not_sent")]
    assert done["arrivals"] == done["records"] > 0
