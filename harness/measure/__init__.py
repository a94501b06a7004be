"""What the history says, as figures: the measurements that the checks judge and the reports draw."""
