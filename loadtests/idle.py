"""Whether a kept connection can carry a request."""

from __future__ import annotations

import select
from typing import Any

from gevent import monkey

# gevent's poll() goes through its hub even when it need not wait: 50 µs. select() takes every descriptor above 1023 for
# dead: each request would silently open a new connection.
_poll = monkey.get_original("select", "poll")


def idle(sock: Any) -> bool:
    """True while nothing has come on the connection, not even its end."""
    poll = _poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)
