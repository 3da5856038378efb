"""Other libraries: callbacks for their training loops, and writers for their trackers."""
