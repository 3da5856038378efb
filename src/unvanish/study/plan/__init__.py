"""What a study trains: its file, its cells, and what is still to be trained, given what is known so far."""
