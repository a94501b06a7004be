"""Ships a model version: python3 -m clusters.platform.release --namespace inference --deployment detector --version 2

Sets the version, watches the rollout, asks golden requests while it goes on, and puts the previous version back when
it crashes, stalls, answers wrongly or too late. What it does stands on stdout, a JSON object a line.
Exit code: 0 shipped, 1 rolled back, 2 could not roll back, 3 could not begin (nothing was touched).
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clusters.api import Api
from clusters.context.reach import endpoint
from clusters.platform.release.rollout import Rollout
from clusters.platform.release.step import Policy, Step
from clusters.platform.release.verify import Prober
from clusters.provider import ClusterError

NOT_BEGUN = 3
GOLDEN = Path(__file__).parents[3] / "experiments" / "golden" / "detector.json"


def tell(step: str, **facts: Any) -> None:
    """One JSON line on stdout: the protocol of this program."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"time": now, "t_ns": time.monotonic_ns(), "step": step} | facts
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def seconds(text: str) -> float:
    """`60s`, `500ms` or `2m` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not understood. Write 60s, 500ms or 2m.')
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[match[2]]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python3 -m clusters.platform.release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--namespace", default="inference")
    parser.add_argument("--deployment", default="detector")
    parser.add_argument("--service", default="", help="where users come in (default: the Deployment's name)")
    parser.add_argument("--version", required=True, help="model version to ship")
    parser.add_argument("--kubeconfig", type=Path, default=None)
    parser.add_argument("--context", default=None)
    parser.add_argument("--timeout", type=seconds, default=120.0, help="for the rollout, and again for undoing it")
    parser.add_argument("--golden", type=Path, default=GOLDEN, help="inputs with known answers")
    parser.add_argument("--endpoint", default="", help="HOST:PORT of the Service, where it cannot be found out")
    return parser.parse_args(given)


def main() -> int:
    """The exit code of the process."""
    options = arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        api = Api.connect(options.kubeconfig, options.context)
        policy = Policy.read(api, options.namespace)
        tell("policy", verify=policy.verify, latency_s=policy.latency_s, stall_s=policy.stall_s)
        rollout = Rollout(api, options.namespace, options.deployment)
        prober = None
        if policy.verify:
            host, _, port = options.endpoint.rpartition(":")
            where = (
                (host, int(port))
                if host
                else endpoint(api, options.namespace, options.service or options.deployment, "http")
            )
            golden = json.loads(options.golden.read_text(encoding="utf-8"))
            prober = Prober(where, golden, options.version, policy.latency_s)
        step = Step(
            api, rollout, policy, prober, version=options.version, timeout_s=options.timeout, tell=tell, stop=stop
        )
        return step.ship()
    except (ClusterError, OSError, ValueError) as error:
        tell("not-begun", reason=str(error))
        return NOT_BEGUN


if __name__ == "__main__":
    sys.exit(main())
