"""Mean-field theory on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.exit import exit_codes
from unvanish.cli.options import path_named, standard_deviation
from unvanish.core.arguments import MOST

commands = typer.Typer()


@commands.command(
    epilog="""Examples:

unvanish theory --activation tanh --depth 50

unvanish theory --activation sigmoid --weight-std 0.05 --width 128 --depth 7 · the study's baseline

unvanish theory --activation tanh --diagram phases.svg"""
)
def theory(
    activation: Annotated[str, typer.Option(metavar="NAME", help="As torch.nn calls it, in any case.")] = "tanh",
    depth: Annotated[int, typer.Option(min=1, max=10**6, metavar="L", help="Hidden layers.")] = 20,
    width: Annotated[int, typer.Option(min=1, max=MOST, metavar="N", help="Units of a hidden layer.")] = 128,
    weight_std: Annotated[
        float | None,
        typer.Option(parser=standard_deviation, metavar="STD", help="Of one weight. (default: PyTorch's)"),
    ] = None,
    bias_std: Annotated[float, typer.Option(parser=standard_deviation, metavar="STD", help="Of one bias.")] = 0.0,
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path_named, help="Write the phase diagram: .svg, .png, .pdf or .json."),
    ] = None,
) -> None:
    """What becomes of the signal in a random fully connected network, by mean-field theory.

    Prints the phase, the depth scales, the depth that can be trained, the predicted profile, and the initial weights
    that would keep the gradient. Nothing is trained, and no data are needed: inputs have mean square 1.
    """
    with exit_codes():
        from unvanish.render.theory import lines, phase_diagram
        from unvanish.theory import activation as activation_named

        phi = activation_named(activation)
        std = (1 / (3 * width)) ** 0.5 if weight_std is None else weight_std  # uniform in ±1/√fan_in
        for line in lines(phi, depth, width, std, bias_std, given=weight_std is not None):
            typer.echo(line)
        if diagram is not None:
            phase_diagram(phi, diagram)
            typer.echo(diagram)
