"""Failures leave nothing for the garbage collector, which would hold up the load when it is least welcome."""

import subprocess
import sys

from tests.loadtests.conftest import ROOT

CODE = """
from gevent import monkey; monkey.patch_all()
import gc, types
import gevent
from loadtests.deadlines import Deadlines
from loadtests.users.base import OpenLoopUser

def hang():
    gevent.sleep(30)

def refuse():
    try:
        raise ConnectionRefusedError(111, "refused")
    except OSError as error:
        first = error
    raise first

class Client:
    def infer(self, case, kept, attempt):
        hang() if kept else refuse()
    def drop(self):
        pass

desk = types.SimpleNamespace(deadlines=Deadlines(10**6))
user = types.SimpleNamespace(client=Client(), desk=desk)
gc.collect()
gc.disable()
outcomes = {OpenLoopUser._send(user, 0, kept).outcome for kept in (True, False) for _ in range(20)}
assert outcomes == {"timeout", "refused"}, outcomes
assert gc.collect() == 0
"""


def test_a_failed_request_is_freed_without_the_collector():
    """A timeout whose traceback is kept alive by its own frames was 75 objects: 10 ms of collection in a hang."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
