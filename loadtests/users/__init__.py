"""The clients: one file a protocol, all driven by the same Locust user."""
