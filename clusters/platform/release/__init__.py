"""The release step of a team that owns a platform: ship a model version, look at its answers, undo when it is bad."""
