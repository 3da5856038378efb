"""Reading a store: the results, the figures, the page."""
