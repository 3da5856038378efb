"""Reading the texts that users give: studies and recipes."""

from pathlib import Path

from unvanish.core.errors import RecipeError

MOST_BYTES = 10**7  # a device such as /dev/zero has no end


def text_of(path: Path) -> str:
    """What the file, or a pipe, holds. Raises `RecipeError`, naming it, where that is no text or has no end."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise RecipeError(f"{path} is larger than {MOST_BYTES // 10**6} MB: it is no study and no recipe")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
