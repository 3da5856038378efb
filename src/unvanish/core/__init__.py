"""The types that everything else is made of. Imports nothing else of the package."""
