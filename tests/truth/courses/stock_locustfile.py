"""A locustfile as one finds it: a user, a request, Locust's own statistics."""

from __future__ import annotations

from locust import HttpUser, constant_throughput, task

BODY = {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16}]}


class Client(HttpUser):
    """Asks the model twice a second."""

    wait_time = constant_throughput(2)

    @task
    def infer(self) -> None:
        """One request."""
        self.client.post("/v2/models/detector/infer", json=BODY, headers={"X-Bystander": "locust"})
