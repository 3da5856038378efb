"""Trials: optimizer steps on a copy, from which a check learns what the numbers alone cannot tell."""
