"""Watches for other people's training loops. Each imports its library when it is itself imported."""
