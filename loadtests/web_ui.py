"""Locust's web UI on loopback, to look at: the schedule belongs to the run, and no button changes it."""

from __future__ import annotations

from typing import Any

import gevent
from gevent.pywsgi import WSGIServer
from locust.env import Environment
from locust.stats import stats_history

from loadtests.stdio import LoadError

REFUSED = (
    "The load is an open loop on a schedule that was made ahead, and belongs to the run: it is neither started, "
    "stopped, changed nor reset from here. Ctrl-C in the run's own terminal ends it, with everything undone.\n"
)


def show(environment: Environment, port: int) -> str:
    """The address at which the statistics of the running load are to be seen. Port 0: any that is free."""
    web_ui = environment.create_web_ui("127.0.0.1", port, delayed_start=True)
    web_ui.app.debug = False

    @web_ui.app.before_request  # type: ignore[untyped-decorator]
    def look_only() -> Any:
        from flask import make_response, request

        # Every route of Locust's that changes something takes POST; looking is GET.
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            return make_response(REFUSED, 403)
        return None

    server = WSGIServer(("127.0.0.1", port), web_ui.app, log=None)
    try:
        server.start()
    except OSError as error:
        raise LoadError(f"Locust's web UI cannot listen at 127.0.0.1:{port}: {error.strerror}") from error
    gevent.spawn(stats_history, environment.runner)  # what its charts are drawn from
    return f"http://127.0.0.1:{server.server_port}"
