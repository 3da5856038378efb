"""The terminal picture of the README: what `unvanish repair` prints for a failing network, from a real run.

python benchmarks/terminal.py docs/images/repair.svg
"""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from unvanish.render.text import coloured

EXAMPLE = ["unvanish", "repair", "examples/failing.py:make", "--steps", "100"]
UP_TO = "What was tried"


def main(to: str) -> None:
    done = subprocess.run([sys.executable, "-m", *EXAMPLE], capture_output=True, text=True, check=True)
    shown = done.stdout[: done.stdout.index(UP_TO)].rstrip()
    console = Console(record=True, width=80, file=StringIO())
    console.print(Text("$ " + " ".join(EXAMPLE), style="bold"))
    console.print(Text.from_ansi(coloured(shown, True)))
    console.print(Text("…", style="dim"))
    picture = console.export_svg(title="unvanish repair", font_aspect_ratio=0.61)
    Path(to).write_text(re.sub(r"@font-face\s*\{[^}]*\}\s*", "", picture))  # rich names fonts on another host


if __name__ == "__main__":
    main(sys.argv[1])
