"""The reference inference platform: server, models, release step, latency proxy, and the manifests that deploy them."""
