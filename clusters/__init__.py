"""Clusters to test against: the embedded sandbox, the user's own, and the reference platform that runs on them."""
