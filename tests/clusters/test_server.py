"""The reference server as clients meet it: tritonclient unchanged, Triton's errors, a drain that loses nothing."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.clusters.platform_kit import (
    GOLDEN,
    ROOT,
    address,
    golden_input,
    is_golden,
    listens,
    program,
    server,
    status,
    until,
)

CASES = GOLDEN["cases"]


@pytest.fixture(scope="module")
def host():
    with server() as (address, _):
        yield address


@pytest.fixture(scope="module")
def over_http(host):
    with triton_http.InferenceServerClient(f"{host}:8000") as client:
        yield client


@pytest.fixture(scope="module")
def over_grpc(host):
    with triton_grpc.InferenceServerClient(f"{host}:8001") as client:
        yield client


def http_input(array, *, binary=True, datatype="FP32", name="INPUT"):
    tensor = triton_http.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def grpc_input(array, *, datatype="FP32", name="INPUT"):
    tensor = triton_grpc.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("out", ["unnamed", "binary", "json"])
def test_tritonclient_http_gets_the_golden_answers(over_http, binary_in, out):
    """Every combination of binary and JSON tensors, with pod, version and request id in the answer."""
    wanted = None if out == "unnamed" else [triton_http.InferRequestedOutput("OUTPUT", binary_data=out == "binary")]
    for case in CASES:
        tensor = http_input(golden_input(case), binary=binary_in)
        result = over_http.infer("detector", [tensor], outputs=wanted, request_id="17")

        assert is_golden(result.as_numpy("OUTPUT"), case)
        response = result.get_response()
        assert (response["model_version"], response["parameters"]["pod"], response["id"]) == ("1", "pod-a", "17")


def test_tritonclient_grpc_gets_the_golden_answers(over_grpc):
    for case in CASES:
        result = over_grpc.infer("detector", [grpc_input(golden_input(case))], request_id="17")

        assert is_golden(result.as_numpy("OUTPUT"), case)
        response = result.get_response()
        assert (response.model_version, response.parameters["pod"].string_param) == ("1", "pod-a")
        assert response.id == "17"


def test_grpc_takes_typed_contents_too(host):
    """As clients without raw tensors send them."""
    import grpc

    from clusters.platform.server.stubs import messages, services

    request = messages.ModelInferRequest(model_name="detector")
    tensor = request.inputs.add(name="INPUT", datatype="FP32", shape=[1, 16])
    tensor.contents.fp32_contents.extend(CASES[0]["inputs"][0]["data"])
    with grpc.insecure_channel(f"{host}:8001") as channel:
        response = services.GRPCInferenceServiceStub(channel).ModelInfer(request)

    answer = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(1, 4)
    assert is_golden(answer, CASES[0])


def test_a_batch_is_answered_row_by_row(over_http):
    batch = np.concatenate([golden_input(case) for case in CASES])
    answer = over_http.infer("detector", [http_input(batch)]).as_numpy("OUTPUT")

    assert answer.shape == (len(CASES), 4)
    assert all(is_golden(row, case) for row, case in zip(answer, CASES, strict=True))


def test_one_grpc_client_serves_many_threads(over_grpc):
    wrong = []

    def ask(case):
        if not is_golden(over_grpc.infer("detector", [grpc_input(golden_input(case))]).as_numpy("OUTPUT"), case):
            wrong.append(case)

    threads = [threading.Thread(target=ask, args=(case,)) for case in CASES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_health_metadata_config_statistics_and_index(over_http, over_grpc):
    assert over_http.is_server_live()
    assert over_http.is_server_ready()
    assert over_http.is_model_ready("detector")
    assert over_http.is_model_ready("detector", "1")
    assert over_grpc.is_server_live()
    assert over_grpc.is_server_ready()
    assert over_grpc.is_model_ready("detector")
    metadata = over_http.get_model_metadata("detector")
    assert metadata["inputs"] == [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 16]}]
    assert over_grpc.get_model_metadata("detector", as_json=True)["versions"] == ["1"]
    assert over_http.get_model_config("detector")["max_batch_size"] == 0
    assert over_http.get_model_repository_index()[0]["state"] == "READY"
    before = over_http.get_inference_statistics()["model_stats"][0]["inference_count"]
    over_http.infer("detector", [http_input(golden_input(CASES[0]))])
    assert over_http.get_inference_statistics()["model_stats"][0]["inference_count"] == before + 1
    assert "binary_tensor_data" in over_http.get_server_metadata()["extensions"]
    assert "binary_tensor_data" in over_grpc.get_server_metadata().extensions


X = np.zeros((1, 16), np.float32)
# what is asked -> HTTP status, gRPC code, a part of Triton's message
REFUSED = {
    "unknown model": ("other", "", X, "FP32", "INPUT", 404, "NOT_FOUND", "unknown model: 'other' is not found"),
    "unknown version": ("detector", "9", X, "FP32", "INPUT", 404, "NOT_FOUND", "version 9 is not found"),
    "wrong shape": (
        "detector",
        "",
        X[:, :15].copy(),
        "FP32",
        "INPUT",
        400,
        "INVALID_ARGUMENT",
        "Expected [-1,16], got [1,15]",
    ),
    "wrong rank": ("detector", "", X[0].copy(), "FP32", "INPUT", 400, "INVALID_ARGUMENT", "Expected [-1,16], got [16]"),
    "wrong type": ("detector", "", X.astype(np.int32), "INT32", "INPUT", 400, "INVALID_ARGUMENT", "expects 'FP32'"),
    "unknown input": (
        "detector",
        "",
        X,
        "FP32",
        "OTHER",
        400,
        "INVALID_ARGUMENT",
        "unexpected inference input 'OTHER'",
    ),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_errors_are_tritons(over_http, over_grpc, asked):
    """The same status, code and words on both protocols."""
    model, version, array, datatype, name, code, grpc_code, message = REFUSED[asked]

    with pytest.raises(InferenceServerException) as refusal:
        over_http.infer(model, [http_input(array, datatype=datatype, name=name)], model_version=version)
    assert refusal.value.status() == str(code)
    assert message in refusal.value.message()
    with pytest.raises(InferenceServerException) as refusal:
        over_grpc.infer(model, [grpc_input(array, datatype=datatype, name=name)], model_version=version)
    assert refusal.value.status() == f"StatusCode.{grpc_code}"
    assert message in refusal.value.message()


BAD_BODIES = {
    "no JSON": (b"{", {}),
    "no object": (b"[]", {}),
    "no inputs": (b"{}", {}),
    "inputs are no list": (b'{"inputs": 3}', {}),
    "an input without data": (b'{"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 16]}]}', {}),
    "text for numbers": (
        json.dumps({"inputs": [CASES[0]["inputs"][0] | {"data": ["x"] * 16}]}).encode(),
        {},
    ),
    "too few numbers": (json.dumps({"inputs": [CASES[0]["inputs"][0] | {"data": [1.0]}]}).encode(), {}),
    "negative shape": (json.dumps({"inputs": [CASES[0]["inputs"][0] | {"shape": [-1, 16]}]}).encode(), {}),
    "header length beyond the body": (b"{}", {"Inference-Header-Content-Length": "99"}),
    "header length is no number": (b"{}", {"Inference-Header-Content-Length": "x"}),
    "cut off tensor": (
        b'{"inputs":[{"name":"INPUT","datatype":"FP32","shape":[1,16],"parameters":{"binary_data_size":64}}]}'
        + b"\0" * 8,
        {"Inference-Header-Content-Length": "99"},
    ),
    "bytes left over": (json.dumps({"inputs": CASES[0]["inputs"]}).encode() + b"\0" * 8, None),
    "unknown output": (json.dumps({"inputs": CASES[0]["inputs"], "outputs": [{"name": "X"}]}).encode(), {}),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_bad_body_is_a_400_and_the_server_lives(host, what):
    """Never a 500, never a guess."""
    body, headers = BAD_BODIES[what]
    if headers is None:
        headers = {"Inference-Header-Content-Length": str(len(body) - 8)}
    connection = http.client.HTTPConnection(host, 8000, timeout=5)
    connection.request("POST", "/v2/models/detector/infer", body, headers)
    response = connection.getresponse()

    assert (response.status, list(json.loads(response.read()))) == (400, ["error"])
    connection.close()
    assert status(f"http://{host}:8000/v2/health/ready")[0] == 200


def test_a_loading_model_is_live_and_not_ready():
    """And infer says so with 400, as Triton does: a platform without a readiness probe serves exactly this."""
    with server(ready=False, MODEL_LOAD_SECONDS="60") as (host, _):
        assert status(f"http://{host}:8000/v2/health/ready")[0] == 400
        assert status(f"http://{host}:8000/v2/models/detector/ready")[0] == 400
        code, body = status(f"http://{host}:8000/v2/models/detector/infer", "POST", b"{}")
        assert (code, b"has no available versions" in body) == (400, True)


def test_version_2_ends_with_the_reason():
    with program("clusters.platform.server", address(), MODEL_VERSION="2") as process:
        _, log = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "version 2 cannot be served" in log


def test_version_3_never_gets_ready():
    with server(ready=False, MODEL_VERSION="3") as (host, process):
        log = iter(process.stderr.readline, "")
        assert any("listening" in line for line in log)
        assert status(f"http://{host}:8000/v2/health/ready")[0] == 400


def test_version_5_is_right_and_late():
    with server(MODEL_VERSION="5") as (host, _), triton_http.InferenceServerClient(f"{host}:8000") as client:
        begin = time.monotonic()
        result = client.infer("detector", [http_input(golden_input(CASES[0]))])

        assert time.monotonic() - begin >= 0.8
        assert is_golden(result.as_numpy("OUTPUT"), CASES[0])


def pending(host):
    return json.loads(status(f"http://{host}:8000/v2/models/stats")[1])["model_stats"][0]["pending_count"]


def in_flight(host, answers):
    """A request that takes the server as long as COMPUTE_SECONDS says, under way in a thread."""

    def ask():
        connection = http.client.HTTPConnection(host, 8000, timeout=10)
        try:
            connection.request("POST", "/v2/models/detector/infer", json.dumps({"inputs": CASES[0]["inputs"]}))
            response = connection.getresponse()
            answers.append((response.status, response.getheader("Connection"), json.loads(response.read())))
        except (OSError, http.client.HTTPException) as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_drain_finishes_what_is_in_flight():
    """Not ready at once, in-flight answers complete, kept connections served and told to close, then a clean end."""
    with server(COMPUTE_SECONDS="1.5", DRAIN_SECONDS="1") as (host, process):
        kept = http.client.HTTPConnection(host, 8000, timeout=10)
        kept.request("GET", "/v2/health/live")
        assert kept.getresponse().read() == b""
        answers: list = []
        slow = in_flight(host, answers)
        with triton_grpc.InferenceServerClient(f"{host}:8001") as client:
            rpc: list = []
            client.async_infer(
                "detector", [grpc_input(golden_input(CASES[1]))], lambda result, error: rpc.append((result, error))
            )
            until(lambda: pending(host) == 2, "both are under way")
            process.send_signal(signal.SIGTERM)

            until(lambda: status(f"http://{host}:8000/v2/health/ready")[0] == 400, "not ready any more", 0.5)
            kept.request("GET", "/v2/health/live")
            answer = kept.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close")
            slow.join()
            assert answers[0][:2] == (200, "close")
            until(lambda: rpc, "the gRPC answer is here")
            assert rpc[0][1] is None
            assert is_golden(rpc[0][0].as_numpy("OUTPUT"), CASES[1])
        assert process.wait(10) == 0
        assert not listens(host, 8000)


def ended(connection):
    """Something came without being asked for: the end."""
    return bool(select.select([connection], [], [], 0)[0])


@pytest.fixture
def first_in_line():
    """Nothing comes between a look at a connection and what is sent on it: the server may not run in the middle."""
    before = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        pytest.skip("needs the right to real-time scheduling")
    yield
    os.sched_setscheduler(0, before, os.sched_param(0))


@pytest.mark.usefixtures("first_in_line")
def test_kept_connections_end_without_a_request_in_them():
    """Its client asks on them all the time and heeds each end, seen or told; most carry nothing during the drain."""
    lost, silent = [], 0
    with server(DRAIN_SECONDS="0.02") as (host, process):
        kept = [socket.create_connection((host, 8000), timeout=10) for _ in range(300)]
        process.send_signal(signal.SIGTERM)
        for turn in itertools.count():
            if not kept:
                break
            connection = kept[turn % len(kept)]
            if ended(connection):
                silent += 1
                kept.remove(connection)
                connection.close()
                continue
            try:
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = connection.recv(4096)
            except OSError as error:
                answer = str(error).encode()
            if not answer.startswith(b"HTTP/1.1 200"):
                lost.append(answer)
            if not answer.startswith(b"HTTP/1.1 200") or b"connection: close" in answer.lower():
                kept.remove(connection)
                connection.close()
        assert process.wait(10) == 0

    assert lost == []
    assert silent > 0


def test_without_drain_what_is_in_flight_is_lost():
    """DRAIN=off: SIGTERM is the end."""
    with server(COMPUTE_SECONDS="5", DRAIN="off") as (host, process):
        answers: list = []
        thread = in_flight(host, answers)
        until(lambda: pending(host) == 1, "it is under way")
        process.send_signal(signal.SIGTERM)

        assert process.wait(2) == 143
        thread.join()
        assert isinstance(answers[0], (OSError, http.client.HTTPException))


def test_sigterm_while_loading_ends_the_server():
    with server(ready=False, MODEL_VERSION="3", DRAIN_SECONDS="0.1") as (_, process):
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 0


def test_a_group_admits_members_only_while_it_forms():
    """The first forms the group, the next one joins, who comes after the window is turned away, for ever."""
    with (
        server(GROUP_PEERS="127.0.0.1:9") as (first, _),
        server(GROUP_PEERS=f"{first}:8000", GROUP_JOIN_SECONDS="60") as (second, _),
    ):
        formed = json.loads(status(f"http://{first}:8000/v2/group")[1])
        assert json.loads(status(f"http://{second}:8000/v2/group")[1]) == formed
        with program(
            "clusters.platform.server", address(), GROUP_PEERS=f"{second}:8000", GROUP_JOIN_SECONDS="0.1"
        ) as late:
            _, log = late.communicate(timeout=20)
            assert late.returncode == 1
            assert "not admitted" in log


def test_the_stubs_leave_tritonclient_as_it_is():
    """Whoever imports the client after the server's stubs, or before, gets the real one."""
    for order in (
        "clusters.platform.server.stubs, tritonclient.grpc",
        "tritonclient.grpc, clusters.platform.server.stubs",
    ):
        stubs = "clusters.platform.server.stubs.messages.ModelInferRequest()"
        code = f"import {order}; tritonclient.grpc.InferenceServerClient; {stubs}"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
