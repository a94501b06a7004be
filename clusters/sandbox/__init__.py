"""A small Kubernetes: real API, real processes as pods, no root. `docs/sandbox.md` lists every difference."""
