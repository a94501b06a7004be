"""A request that is tried again, or sent twice, is one request: one row, one outcome, one deadline."""

import time

import gevent
import pytest

from loadtests.config import ConfigError, LoadConfig
from loadtests.outcome import Attempt
from loadtests.retrying import Retrying
from tests.loadtests.conftest import SECOND
from tests.loadtests.test_arrivals import LOAD
from tests.loadtests.test_protocol import CLIENTS, whole

TIMEOUT_NS, HEDGE_NS = SECOND // 2, SECOND // 10
UNAVAILABLE = {"kserve-v2-http": "http_503", "kserve-v2-grpc": "grpc_UNAVAILABLE"}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_retried_or_hedged_request_is_one_row_with_all_its_attempts(load, server, client):
    """Every second request of the server fails, then hangs; then answers are wrong; then nobody is there."""
    unavailable = UNAVAILABLE[CLIENTS[client]["protocol"]]
    process = load(
        **CLIENTS[client],
        rate_per_s=200.0,
        timeout_ns=TIMEOUT_NS,
        users=140,
        retries=2,
        retry_on=[unavailable, "refused"],
        retry_backoff_ns=20_000_000,
        hedge_after_ns=HEDGE_NS,
    )
    process.start()
    windows = {}
    for mode in ("well", f"{unavailable}@odd", "hang@odd", "wrong", "killed"):
        if mode == "killed":
            server.kill()
        else:
            server.behave(mode)
        begin_ns = time.monotonic_ns()
        sent = process.lines[-1].get("sent", 0)
        process.wait("live", lambda line, sent=sent: line["sent"] >= sent + 60)
        windows[mode] = (begin_ns, time.monotonic_ns() - SECOND // 20)
        process.wait("live", lambda line, ended_ns=windows[mode][1]: line["t_ns"] > ended_ns + TIMEOUT_NS)
    process.say(stop_ns=time.monotonic_ns())
    done, rows = process.finish()

    assert whole(done, rows)
    seen = {}
    for mode, (begin_ns, end_ns) in windows.items():
        seen[mode] = [row for row in rows if row["sent_ns"] is not None and begin_ns < row["sent_ns"] < end_ns]
    for row in rows:
        consistent(row)
    assert all(row["tries"] is None for row in seen["well"] if row["end_ns"] - row["sent_ns"] < HEDGE_NS)

    retried = [[one["outcome"] for one in row["tries"]] for row in seen[f"{unavailable}@odd"] if row["tries"]]
    assert [unavailable, "ok"] in retried
    assert [unavailable, unavailable, "ok"] in retried or [unavailable] * 3 in retried

    saved = [row["tries"] for row in seen["hang@odd"] if row["tries"] and row["outcome"] == "ok"]
    assert any([one["outcome"] for one in tries] == ["cancelled", "ok"] for tries in saved)
    for first, second in saved:
        assert second["connection"] == "new"
        assert second["sent_ns"] - first["sent_ns"] > HEDGE_NS - 5_000_000

    for mode, outcome in (("wrong", "wrong_answer"), ("killed", "refused")):
        outcomes = {row["outcome"] for row in seen[mode]}
        assert outcome in outcomes
        assert "ok" not in outcomes
    # An attempt that a busy machine refuses late gets a copy as well.
    assert max(row["attempts"] for row in seen["killed"] if all(quick(one) for one in row["tries"] or ())) == 3


def quick(one):
    """An attempt that ended before its copy was due."""
    return one["end_ns"] - one["sent_ns"] < HEDGE_NS


def consistent(row):
    """What holds for every row, whatever happened."""
    if row["tries"] is None:
        assert row["attempts"] == (row["outcome"] != "not_sent")
        return
    tries = row["tries"]
    assert row["attempts"] == len(tries) > 1
    assert row["sent_ns"] <= tries[0]["sent_ns"]
    assert [one["sent_ns"] for one in tries] == sorted(one["sent_ns"] for one in tries)
    assert all(one["sent_ns"] < row["sent_ns"] + TIMEOUT_NS + 5_000_000 for one in tries)
    decided = [one for one in tries if one["outcome"] == row["outcome"]]
    assert (row["end_ns"], row["local_port"]) in [(one["end_ns"], one["local_port"]) for one in decided]
    assert tries[0]["connection"] == row["connection"]
    assert all(one["local_port"] for one in tries if one["outcome"] == "ok")


@pytest.mark.parametrize("client", CLIENTS)
def test_the_copy_that_lost_is_cancelled_at_the_server(load, server, client):
    """The load must not leave work behind that no client waits for."""
    process = load(**CLIENTS[client], timeout_ns=10 * SECOND, hedge_after_ns=HEDGE_NS)
    process.start()
    server.behave("hang@kept")
    deadline = time.monotonic() + 30
    while server.seen()["given_up"] < 20:
        assert time.monotonic() < deadline, server.seen()["given_up"]
        time.sleep(0.05)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    # The kernel may give a new connection the port of an old one: this server then takes it for a kept one.
    timed_out = sum(row["outcome"] == "timeout" for row in rows)
    assert timed_out < 5


def test_retries_can_use_connections_of_their_own(load, server):
    """A client whose kept connection leads to a dead backend is better off with another one."""
    process = load(retries=1, retry_on=["http_503"], retry_connection="new", kept_share=1.0)
    process.start()
    server.behave("http_503@kept")
    process.wait("live", lambda line: line["ok"] >= 30)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    retried = [row["tries"] for row in rows if row["tries"]]
    assert retried
    assert {tuple((one["connection"], one["outcome"]) for one in tries) for tries in retried} == {
        (("kept", "http_503"), ("new", "ok"))
    }


class Backend:
    """Stands in for the clients of one user: each attempt takes so many seconds and ends so."""

    def __init__(self, *course):
        self.course = list(course)
        self.sent = []
        self.dropped = 0

    def send(self, case, kept, attempt):
        self.sent.append((time.monotonic(), kept, attempt.limit_ns))
        seconds, attempt.outcome = self.course[len(self.sent) - 1]
        if seconds:
            gevent.sleep(seconds)
        return attempt

    def drop(self):
        self.dropped += 1

    def asked(self, number=0, kept=True, **changes):
        config = LoadConfig.parse(LOAD | {"timeout_ns": 60 * SECOND, "retry_backoff_ns": 1000} | changes)
        return Retrying(config, self.send, self.drop).send(number, 0, kept)


def outcomes(attempt):
    return [one.outcome for one in attempt.tries or ()]


LONG = 600  # s; what lasts so long is cancelled
RETRY = {"retries": 2, "retry_on": ["reset"]}


@pytest.mark.parametrize(
    ("course", "options", "outcome", "tries"),
    [
        ([(0, "reset"), (0, "reset"), (0, "reset")], RETRY, "reset", ["reset", "reset", "reset"]),
        ([(0, "reset"), (0, "ok")], RETRY, "ok", ["reset", "ok"]),
        ([(0, "reset"), (0, "http_500")], RETRY, "http_500", ["reset", "http_500"]),
        ([(0, "reset"), (0, "wrong_answer")], RETRY, "wrong_answer", ["reset", "wrong_answer"]),
        ([(0, "refused")], RETRY, "refused", []),
        ([(0, "ok")], {"hedge_after_ns": SECOND}, "ok", []),
        ([(0, "reset")], {"hedge_after_ns": SECOND}, "reset", []),
        ([(LONG, ""), (0, "ok")], {"hedge_after_ns": 1000}, "ok", ["cancelled", "ok"]),
        ([(LONG, ""), (0, "wrong_answer")], {"hedge_after_ns": 1000}, "wrong_answer", ["cancelled", "wrong_answer"]),
        ([(0.1, "ok"), (LONG, "")], {"hedge_after_ns": 1000}, "ok", ["ok", "cancelled"]),
        ([(0.1, "ok"), (0, "reset")], {"hedge_after_ns": 1000}, "ok", ["ok", "reset"]),
        ([(0.1, "reset"), (0, "http_500")], {"hedge_after_ns": 1000}, "reset", ["reset", "http_500"]),
        (
            [(0.1, "reset"), (0, "reset"), (LONG, ""), (0, "ok")],
            {"hedge_after_ns": 1000} | RETRY,
            "ok",
            ["reset", "reset", "cancelled", "ok"],
        ),
    ],
)
def test_what_decides(course, options, outcome, tries):
    """The first answer, else the last failure; a wrong answer is an answer, which no client would ask again for."""
    backend = Backend(*course)

    attempt = backend.asked(**options)

    assert (attempt.outcome, outcomes(attempt)) == (outcome, tries)
    assert len(backend.sent) == len(course)


def test_a_cancelled_kept_connection_is_not_used_again():
    """Its answer may still come; and the copy goes out on a new one."""
    backend = Backend((LONG, ""), (0, "ok"))

    backend.asked(hedge_after_ns=1000)

    assert backend.dropped == 1
    assert [kept for _, kept, _ in backend.sent] == [True, False]


def test_no_retry_begins_at_the_deadline_or_after_it():
    """The client would not get its answer."""
    backend = Backend((0, "reset"))

    attempt = backend.asked(retries=5, retry_on=["reset"], retry_backoff_ns=200 * SECOND)

    assert (attempt.outcome, attempt.tries) == ("reset", None)


def test_the_deadline_of_a_request_counts_over_all_its_attempts():
    """Each attempt gets what is left, and at most its own limit."""
    backend = Backend((0.05, "reset"), (0, "reset"), (0, "reset"))
    backend.asked(**RETRY)
    limits = [limit for *_, limit in backend.sent]
    limited = Backend((0, "reset"), (0, "reset"), (0, "reset"))
    limited.asked(attempt_timeout_ns=3 * SECOND, **RETRY)

    assert 60 * SECOND >= limits[0] >= limits[1] + SECOND // 20
    assert [limit for *_, limit in limited.sent] == [3 * SECOND] * 3


def test_the_wait_before_a_retry_doubles_and_follows_from_the_seed():
    """Half to one and a half of the back-off; another arrival waits another time, the same one the same."""

    def waits(number):
        return [
            Retrying(LoadConfig.parse(LOAD | {"retry_backoff_ns": SECOND}), Backend().send, None)._wait_ns(
                number, retry
            )
            for retry in range(4)
        ]

    assert waits(7) == waits(7)
    assert len({tuple(waits(number)) for number in range(50)}) == 50
    for number in range(50):
        assert all(0.5 * 2**retry <= wait / SECOND <= 1.5 * 2**retry for retry, wait in enumerate(waits(number)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 1}, "retry_on"),
        ({"retries": 1, "retry_on": ["wrong_answer"]}, "retry_on"),
        ({"retry_connection": "old"}, "retry_connection"),
        ({"hedge_after_ns": 0}, "hedge_after_ns"),
        ({"attempt_timeout_ns": -1}, "attempt_timeout_ns"),
    ],
)
def test_options_that_mean_nothing_are_refused(change, said):
    """By their name."""
    with pytest.raises(ConfigError, match=said):
        LoadConfig.parse(LOAD | change)


def test_an_attempt_without_the_options_has_the_deadline_of_the_load():
    """None of this costs anything where it is not asked for."""
    assert not LoadConfig.parse(LOAD).insists
    assert Attempt().limit_ns is None
