"""What puts everything back: written before the act, in the run folder and in the cluster, and applied by anyone."""
