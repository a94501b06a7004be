"""Latency strikes through proxies that come and go without touching the Deployment's own pods."""

from __future__ import annotations

import http.client
import threading
import time
from statistics import median

import pytest

from harness import faults
from harness.errors import Interrupted
from harness.faults import FaultError, _proxies
from harness.history.records import Note
from harness.undo.apply import ready_endpoints
from tests.harness.faults.conftest import NS


def asked(cluster, tries=12):
    """Seconds that requests to the Service take, each on a new connection."""
    address = cluster.get("Service", "detector", NS)["spec"]["clusterIP"]
    taken = []
    for _ in range(tries):
        connection = http.client.HTTPConnection(address, 8000, timeout=5)
        began = time.monotonic()
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        taken.append(time.monotonic() - began)
        connection.close()
    return taken


def own_pods(cluster):
    return {pod["metadata"]["uid"]: pod["metadata"]["labels"] for pod in cluster.list("Pod", NS, "app=detector")}


def test_latency_strikes_all_pods_for_its_time_and_the_way_back_is_clean(run):
    """Proxies in the Service's path, delay on, off again; then the Service as it was, and no proxy left."""
    cluster = run.context.cluster
    before = own_pods(cluster)
    _proxies.ensure(run.context, "app=detector")
    assert ready_endpoints(cluster, NS, "detector") == {f"bulletproof-proxy-{n}" for n in (1, 2, 3)}
    assert median(asked(cluster)) < 0.1
    (cost,) = [each.facts["proxy_cost_ns_p50"] for each in run.records if isinstance(each, Note)]
    assert 0 < cost < 50_000_000  # what it is on a quiet machine stands in every report
    slow: list[float] = []
    asking = threading.Timer(0.4, lambda: slow.extend(asked(cluster, 6)))
    asking.start()

    faults.pod_latency(latency="150ms", jitter="20ms", duration="2s", count="all", namespace=NS)

    asking.join()
    assert min(slow) > 0.1
    assert median(asked(cluster)) < 0.1
    evidence = run.evidence()
    assert evidence["proxy-delays"].seen is True
    added = evidence["latency-added"]
    assert (added.channel, added.seen) == ("requests", None)
    assert added.facts["latency_ns"] == 150_000_000
    assert 1.9e9 < added.facts["until_ns"] - added.facts["from_ns"] < 20e9
    assert run.steps("pod-latency-1.latency") == ["planned", "begin", "applied", "verified"]
    assert own_pods(cluster) == before
    run.undo()
    assert cluster.list("Pod", NS, "bulletproof.dev/proxy-for") == []
    assert ready_endpoints(cluster, NS, "detector") == {
        pod["metadata"]["name"] for pod in cluster.list("Pod", NS, "app=detector")
    }
    assert median(asked(cluster)) < 0.1
    assert own_pods(cluster) == before


def test_an_interrupt_while_it_lasts_leaves_nothing(run):
    """The undo switches the latency off and takes the proxies out."""
    _proxies.ensure(run.context, "app=detector")
    threading.Timer(0.5, run.context.interrupted.set).start()

    with pytest.raises(Interrupted):
        faults.pod_latency(latency="50ms", duration="20s")

    run.undo()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"latency": "60", "duration": "8s"}, 'latency: "60" has no unit'),
        ({"latency": "60ms", "duration": "0s"}, "more than nothing"),
    ],
)
def test_an_argument_without_a_meaning_is_refused(run, arguments, why):
    """Before anything is touched: the proxies are not even made."""
    with pytest.raises(FaultError, match=why):
        faults.pod_latency(**arguments)

    assert run.strikes() == []
    assert run.journal.pending == ()
