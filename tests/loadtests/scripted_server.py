"""A KServe v2 server that misbehaves on request, run as a process: `scripted_server.py GOLDEN HOST`.

Prints one JSON line with its ports. `POST /behave/NAME` on the HTTP port sets how inference is answered from then on,
on both protocols: well, wrong, shape, dtype, missing, garbage, hang, slow, drip, http_404, grpc_INTERNAL, reset, fin,
cut; on new or kept connections only with a suffix (`hang@new`, `hang@kept`: a connection's first request is new), or
only every second request of the server (`hang@odd`).
`GET /seen` tells what came: connections, requests and their times, the peers' addresses, and how many of the requests
that hung were given up by their client.
"""

import asyncio
import json
import socket
import struct
import sys
import time
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

DTYPES = {"FP32": np.float32}


class Model:
    """Knows the golden answers by the inputs' bytes."""

    def __init__(self, path):
        cases = json.loads(Path(path).read_text())["cases"]
        self.answers = {self.raw(case["inputs"][0]): case["outputs"][0] for case in cases}

    @staticmethod
    def raw(tensor):
        return np.array(tensor["data"], dtype=DTYPES[tensor["datatype"]]).tobytes()

    def answer(self, data, mode):
        """Name, datatype, shape and bytes of the output, spoiled as the mode says."""
        output = self.answers[data]
        name, datatype, shape, raw = output["name"], output["datatype"], output["shape"], self.raw(output)
        if mode == "wrong":
            raw = (np.frombuffer(raw, np.float32) + 0.5).astype(np.float32).tobytes()
        if mode == "shape":
            shape = [shape[1], shape[0]]
        if mode == "dtype":
            datatype, raw = "FP64", np.frombuffer(raw, np.float32).astype(np.float64).tobytes()
        if mode == "missing":
            name = "OTHER"
        return name, datatype, shape, raw


class Server:
    def __init__(self, model):
        self.model = model
        self.mode = "well"
        self.connections = 0
        self.requests = 0
        self.given_up = 0
        self.peers = set()
        self.rpc_peers = {}  # connection: requests on it so far
        self.times = []

    def mode_for(self, requests_before):
        mode, _, where = self.mode.partition("@")
        if where == "odd":
            return mode if self.requests % 2 else "well"
        if where and where != ("kept" if requests_before else "new"):
            return "well"
        return mode

    async def http(self, reader, writer):
        self.connections += 1
        before = 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = lines[0].split()[1]
                if path.startswith("/behave/"):
                    self.mode = path.removeprefix("/behave/")
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                elif path == "/seen":
                    seen = {
                        "connections": self.connections,
                        "requests": self.requests,
                        "peers": sorted(self.peers),
                        "times": self.times,
                        "given_up": self.given_up,
                    }
                    self.reply(writer, 200, json.dumps(seen).encode())
                else:
                    self.requests += 1
                    self.peers.add(writer.get_extra_info("peername")[0])
                    self.times.append(time.monotonic_ns())
                    mode = self.mode_for(before)
                    if mode == "hang":
                        await reader.read()
                        self.given_up += 1
                        return
                    if not await self.infer(writer, headers, body, mode):
                        return
                before += 1
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @staticmethod
    def reply(writer, status, body, extra=""):
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body)

    async def infer(self, writer, headers, body, mode):
        if mode == "slow":
            await asyncio.sleep(0.05)
        if mode.startswith("http_"):
            self.reply(writer, int(mode[5:]), b'{"error": "request 17 was refused"}')
            return True
        if mode == "garbage":
            self.reply(writer, 200, b"<html>a proxy says hello</html>")
            return True
        if mode == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if mode == "fin":
            return False
        length = int(headers["inference-header-content-length"])
        name, datatype, shape, raw = self.model.answer(body[length:], mode)
        header = json.dumps(
            {
                "model_name": "detector",
                "model_version": "1",
                "parameters": {"pod": "scripted-1"},
                "outputs": [
                    {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
                ],
            }
        ).encode()
        answer = header + raw
        extra = f"Inference-Header-Content-Length: {len(header)}\r\n"
        if mode in ("cut", "drip"):
            whole = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n{extra}\r\n".encode() + answer
            if mode == "cut":
                writer.write(whole[:-5])
                await writer.drain()
                return False
            for byte in whole:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
            return True
        self.reply(writer, 200, answer, extra)
        return True

    async def ModelInfer(self, request, context):  # noqa: N802
        self.requests += 1
        self.times.append(time.monotonic_ns())
        self.peers.add(context.peer().split(":")[1])
        before = self.rpc_peers.get(context.peer(), 0)
        self.rpc_peers[context.peer()] = before + 1
        mode = self.mode_for(before)
        if mode == "hang":
            try:
                await asyncio.sleep(3600)
            finally:
                self.given_up += 1
        if mode == "slow":
            await asyncio.sleep(0.05)
        if mode.startswith("grpc_"):
            await context.abort(getattr(grpc.StatusCode, mode[5:]), "request 17 was refused")
        name, datatype, shape, raw = self.model.answer(request.raw_input_contents[0], mode)
        response = service_pb2.ModelInferResponse(model_name="detector", model_version="1")
        response.parameters["pod"].string_param = "scripted-1"
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)
        return response


async def main(golden, host, http_port, grpc_port):
    server = Server(Model(golden))
    listener = await asyncio.start_server(server.http, host, http_port, backlog=512)
    rpc = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Rpc(server), rpc)
    grpc_port = rpc.add_insecure_port(f"{host}:{grpc_port}")
    await rpc.start()
    print(json.dumps({"http": listener.sockets[0].getsockname()[1], "grpc": grpc_port}), flush=True)
    await listener.serve_forever()


class Rpc(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, server):
        self.server = server

    async def ModelInfer(self, request, context):  # noqa: N802
        return await self.server.ModelInfer(request, context)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
