"""The loops that make the cluster as its objects say: one file a controller, all driven by changes in the store."""
