"""A node's agent: turns pods bound to its node into real processes, watches them, and says how they are."""
