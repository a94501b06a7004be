"""Locust's stock users with our request and our check.

    python benchmarks/stock_users.py CLASS HOST PORT USERS SECONDS [RATE]

CLASS is HttpUser or FastHttpUser. The body, the headers and the check of the answer are those of our raw HTTP user,
so that what differs is the client alone. As stock users are: closed loop, connections kept, as fast as they can; with
RATE, so many requests a second by Locust's constant_throughput. Prints one JSON line: the requests, how many failed,
the seconds, and the CPU seconds of this process for them.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import locust  # noqa: E402
from locust import User  # noqa: E402
from locust.env import Environment  # noqa: E402

from loadtests import golden  # noqa: E402
from loadtests.config import HTTP, LoadConfig  # noqa: E402
from loadtests.outcome import Attempt, WrongAnswerError  # noqa: E402
from loadtests.users import raw_http  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "experiments" / "golden" / "detector.json"
WARM_UP_S = 1.5
SPLIT = "Inference-Header-Content-Length"


def user_class(name: str, host: str, port: int, rate_of_each: float | None) -> type[User]:
    """A user that sends golden cases one after the other and checks every answer."""
    cases = golden.read(GOLDEN)
    config = LoadConfig(
        host=host, http_port=port, protocol=HTTP, model="detector", golden=str(GOLDEN), rate_per_s=1.0, seed=1,
        timeout_ns=1, users=1, max_duration_ns=1, out=".",
    )  # fmt: skip
    answers = raw_http.Answers(cases)
    requests = []
    for number, case in enumerate(cases):
        head, _, body = raw_http._request(config, case).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        kept = {key: headers[key] for key in ("Content-Type", SPLIT)}
        requests.append((number, body, kept))
    path = f"/v2/models/{config.model}/infer"

    def infer(self: Any) -> None:
        case, body, headers = random.choice(requests)
        with self.client.post(path, data=body, headers=headers, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(str(response.status_code))
                return
            split = response.headers.get(SPLIT)
            try:
                answers.check(case, int(split) if split else None, response.content, Attempt())
            except WrongAnswerError as error:
                response.failure(str(error))

    stock = {"HttpUser": locust.HttpUser, "FastHttpUser": locust.FastHttpUser}[name]
    wait = locust.constant(0) if rate_of_each is None else locust.constant_throughput(rate_of_each)
    fields = {"host": f"http://{host}:{port}", "tasks": [infer], "wait_time": wait}
    made: type[User] = type("Stock", (stock,), fields)
    return made


def main() -> None:
    """Warms up, measures, prints."""
    name, host, port, users, seconds, *rate = sys.argv[1:]
    rate_of_each = float(rate[0]) / int(users) if rate else None
    environment = Environment(user_classes=[user_class(name, host, int(port), rate_of_each)])
    runner = environment.create_local_runner()
    runner.start(int(users), spawn_rate=int(users))
    gevent.sleep(WARM_UP_S)
    total = environment.stats.total
    requests, failed, cpu, begin = total.num_requests, total.num_failures, time.process_time(), time.monotonic()
    gevent.sleep(float(seconds))
    told = {
        "requests": total.num_requests - requests,
        "failed": total.num_failures - failed,
        "cpu_s": time.process_time() - cpu,
        "seconds": time.monotonic() - begin,
    }
    runner.quit()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
