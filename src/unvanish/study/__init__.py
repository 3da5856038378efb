"""Many trainings at once: the processes that do them, and the one that keeps what they send."""
