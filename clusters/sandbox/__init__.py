"""A small Kubernetes in one process: real API, real processes as pods, no root. `docs/sandbox.md` lists every difference."""
