"""The small model that the reference platform serves, in five versions, and the script that makes them."""
