"""Check, watch, and what they find."""
