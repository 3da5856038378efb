"""Where what was fetched or compiled is kept from one command to the next."""

from pathlib import Path


def cache_folder(what: str) -> Path:
    """`$XDG_CACHE_HOME/unvanish/what` or what is usual on this system."""
    import pooch  # a tenth of a second, and not needed where nothing is kept

    return Path(pooch.os_cache("unvanish")) / what
