"""Exit codes, and errors as one sentence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
KEPT = "what is done is kept, and the same command goes on from there"


@contextmanager
def exit_codes(failed: int = FAILED, interrupted: str = KEPT) -> Iterator[None]:
    """Errors as one sentence and the right exit code; `failed` is that of errors other than of a recipe."""
    try:
        from unvanish.core.errors import RecipeError, UnvanishError

        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:  # a reader that closes the pipe early (`| head`) is not an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OK) from None
        except UnvanishError as error:
            typer.echo(f"unvanish: {error}", err=True)
            raise typer.Exit(USAGE if isinstance(error, RecipeError) else failed) from error
    except KeyboardInterrupt:
        typer.echo(f"unvanish: interrupted; {interrupted}", err=True)
        raise typer.Exit(INTERRUPTED) from None
