"""Exit codes, and errors as one sentence."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
SIGNALS = {
    signal.Signals[name]: word
    for name, word in (("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if name in dir(signal)
}
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
            _write_no_more()
            raise typer.Exit(OK) from None
        except UnvanishError as error:
            _said(str(error))
            raise typer.Exit(USAGE if isinstance(error, RecipeError) else failed) from error
        except OSError as error:  # of standard output, or of a disk that nothing above has foreseen
            _write_no_more()
            _said(f"{error.filename or 'standard output'}: {error.strerror or error}")
            raise typer.Exit(failed) from error
        except MemoryError as error:
            _said(f"there is not enough memory ({error}); ask for less")
            raise typer.Exit(failed) from error
    except KeyboardInterrupt:
        ended = _received[-1] if _received else None
        _said(f"{SIGNALS[ended] if ended else 'interrupted'}; {interrupted}")
        raise typer.Exit(128 + ended if ended else INTERRUPTED) from None


def _said(sentence: str) -> None:
    from unvanish.core.output import printable

    typer.echo(f"unvanish: {printable(sentence)}", err=True)


def _write_no_more() -> None:
    """What is left in standard output's buffer goes nowhere: Python would fail again on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_received: list[signal.Signals] = []


def end_as_ctrl_c_does() -> None:
    """SIGTERM and SIGHUP, which schedulers, containers and closing terminals send, end a command as Ctrl-C does."""

    def forward(number: int, _frame: object) -> None:
        _received.append(signal.Signals(number))
        signal.raise_signal(signal.SIGINT)

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of `command &` in a script: they end it as well
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored, and so it stays
            signal.signal(number, forward)
