"""Training steps in C: a stretch of an epoch in one call, measured in the same passes (step.c)."""
