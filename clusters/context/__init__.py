"""`context:NAME`: any cluster of the kubeconfig. Nothing is started; what it offers is found out by asking."""

from clusters.context.provider import ContextProvider

__all__ = ["ContextProvider"]
