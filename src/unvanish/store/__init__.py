"""What is on disk: one SQLite file, with weights and checkpoints as safetensors beside it."""
