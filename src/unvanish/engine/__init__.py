"""Training: the loop, its stages, the gradient flow on the fly, checkpoints."""
