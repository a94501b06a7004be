"""Conformance: the same tests on any cluster, several at a time, because nearly all of their time is waiting.

    pytest tests/conformance                                  # a fresh sandbox
    pytest tests/conformance --kubeconfig FILE --image NAME   # any cluster with an image that has python3

Each test gets an `Api` in a namespace of its own. The first test that pytest calls begins them all in a few threads;
pytest then takes the results in its own order.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clusters.sandbox import client as sandboxes
from tests.conformance.api import Access, Api, RefusedError, wait_for

HERE = Path(__file__).parent
IMAGE = "bulletproof/reference-server:1"
_AT_ONCE = 14


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--kubeconfig", type=Path, metavar="FILE", help="Cluster to test. Default: a fresh sandbox.")
    group.addoption("--image", default=IMAGE, metavar="NAME", help=f"Image with python3 for pods. Default: {IMAGE}.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: begins early, because it waits for long")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first result that is asked for may be that of the last test begun."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Runs the tests on the cluster under test."""
    # Imported before there are threads: while it loads, requests changes the warning filters, which are everybody's.
    import kubernetes.stream  # noqa: F401

    config = request.config
    kubeconfig: Path | None = config.getoption("--kubeconfig", None)
    folder = tmp_path_factory.mktemp("conformance") / "sandbox"
    if kubeconfig is None:
        # The node that falls silent is noticed after 16 s instead of 50: the rule, not the figure, is tested.
        clocks = ("--clock", "node_monitor_grace_s=16")
        kubeconfig = sandboxes.start(folder, nodes=3, gpus=2, arguments=clocks).kubeconfig
    try:
        run = config.stash[RUNNER] = Runner(Api(Access(kubeconfig), "default", config.getoption("--image", IMAGE)))
        yield run
        run.close(wait=config.getoption("--kubeconfig", None) is not None)
    finally:
        sandboxes.stop(folder)


@pytest.fixture
def api(runner: Runner) -> Api:
    """The API in a namespace of the test's own (given by the runner's thread, see pytest_pyfunc_call)."""
    return runner.api


class Runner:
    """Begins all tests of this folder in a few threads and keeps their results."""

    def __init__(self, api: Api) -> None:
        self.api = api
        # One of pytest-xdist's processes: files are dealt out to them (--dist loadfile), each begins its own.
        self._shared = "PYTEST_XDIST_WORKER" in os.environ
        self._pool = ThreadPoolExecutor(_AT_ONCE // 2 if self._shared else _AT_ONCE, thread_name_prefix="conformance")
        self._results: dict[str, Future[None]] = {}
        self._namespaces: list[str] = []
        self._over = threading.Event()

    def result(self, item: pytest.Function) -> None:
        """Waits for the test; raises what it raised."""
        if item.nodeid not in self._results:
            own = [i for i in item.session.items if isinstance(i, pytest.Function) and HERE in i.path.parents]
            if self._shared:
                own = [i for i in own if i.path == item.path]
            for one in sorted(own, key=lambda i: i.get_closest_marker("long") is None):
                self._results[one.nodeid] = self._pool.submit(self._run, one)
        self._results[item.nodeid].result()

    def _run(self, item: pytest.Function) -> None:
        if self._over.is_set():
            return
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        arguments: dict[str, Any] = dict(parameters)
        with self._namespace() as own:
            if "api" in item.fixturenames:
                arguments["api"] = own
            item.obj(**arguments)

    @contextlib.contextmanager
    def _namespace(self) -> Iterator[Api]:
        name = f"conformance-{uuid.uuid4().hex[:8]}"
        self.api.create("namespaces", {"metadata": {"name": name}})
        self._namespaces.append(name)
        own = self.api.into(name)
        try:
            # Pods are refused until their service account is there.
            path = own.path("serviceaccounts", "default")
            wait_for(lambda: own.send("GET", path)[0] == 200, "the default service account")
            yield own
        finally:
            with contextlib.suppress(RefusedError):
                own.delete("namespaces", name)

    def close(self, *, wait: bool) -> None:
        """Ends what was not asked for; `wait`: returns when the tests' namespaces are gone."""
        self._over.set()
        self._pool.shutdown(cancel_futures=True)
        if wait:
            for name in self._namespaces:
                self.api.gone("namespaces", name, 120)


RUNNER: pytest.StashKey[Runner] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test of this folder has been begun before: its result is taken."""
    if HERE not in pyfuncitem.path.parents:
        return None
    pyfuncitem.config.stash[RUNNER].result(pyfuncitem)
    return True
