"""A TCP proxy that can hold back what clients send: the way to one pod gets longer, and nothing else changes."""
