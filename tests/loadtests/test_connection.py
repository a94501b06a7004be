"""What a connection does before it hands over an answer."""

import socket

import gevent

from loadtests import connection

DEADLINE_S = 30.0


def test_what_is_more_urgent_goes_before_each_answer(monkeypatch):
    """Three answers are ready at once; none is handed over before the urgent things were asked for."""
    order = []
    monkeypatch.setattr(connection, "before_answers", lambda: order.append("urgent"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        users, far_ends = [], []
        for _ in range(3):
            near = connection.Connection(socket.AF_INET, None)
            near.connect(listener.getsockname())
            far_ends.append(listener.accept()[0])
            users.append(gevent.spawn(lambda near=near: (order.append(near.receive()), near.close())))
        gevent.sleep(0)
        for far in far_ends:
            far.sendall(b"answer")
        gevent.joinall(users, timeout=DEADLINE_S, raise_error=True)
        for far in far_ends:
            far.close()

    assert order == ["urgent", b"answer"] * 3
