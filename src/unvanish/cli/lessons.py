"""The lessons, on the command line: notebooks that are copied out."""

from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.exit import exit_codes
from unvanish.cli.options import path_named

commands = typer.Typer()

BUILT = Path(__file__).parents[1] / "lessons"  # by hatch_build.py, from the repository's lessons/


@commands.command(
    epilog="""Examples:

unvanish lessons my-lessons · then: jupyter lab my-lessons

unvanish lessons my-lessons --force · back to how they were, without what you wrote into them"""
)
def lessons(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_named, help="The folder to write them into; made if need be.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
) -> None:
    """Copy the lessons out: eight Jupyter notebooks on vanishing gradients and their remedies.

    Each asks a question, lets you predict the answer, and trains networks on FashionMNIST to find it, in about a
    minute. They end with exercises and their solutions. To open them, install Jupyter: pip install 'unvanish[lessons]'.

    A notebook that you have changed is not overwritten: the command then writes nothing and names it.
    """
    with exit_codes():
        for path in _copied(folder, force):
            typer.echo(path)
        typer.echo(f"\nOpen them with: jupyter lab {folder}", err=True)
        typer.echo("Jupyter comes with: pip install 'unvanish[lessons]'", err=True)


def _copied(folder: Path, force: bool) -> list[Path]:
    from unvanish.core.errors import RecipeError, UnvanishError

    built = sorted(BUILT.glob("*.ipynb"))
    if not built:
        raise UnvanishError(
            f"the lessons are not built: {BUILT} has no notebooks. In a checkout of the source, "
            "`pip install --editable .` builds them"
        )
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file; name a folder for the lessons")
    copies = {folder / path.name: path.read_bytes() for path in built}
    try:
        changed = [path for path, text in copies.items() if path.exists() and path.read_bytes() != text]
        if changed and not force:
            names = ", ".join(map(str, changed))
            raise RecipeError(f"{names} would be overwritten; name another folder, or --force to lose what is in there")
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in copies.items():
            path.write_bytes(text)
    except OSError as error:
        raise UnvanishError(f"the lessons cannot be written to {folder}: {error.strerror}") from error
    return list(copies)
