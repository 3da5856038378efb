"""Training: the loop, the step, checkpoints, random streams."""
