"""Text and HTML of core types: knows tables and findings, and nothing of where they come from."""
