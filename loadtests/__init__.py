"""Load: Locust users that follow a schedule made ahead, and the recorder of every request. Runs in its own process."""
