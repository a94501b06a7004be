"""`kind` and `kind:NAME`: a cluster of containers on this machine, made by kind with docker or podman."""

from clusters.kind.provider import KindProvider

__all__ = ["KindProvider"]
