"""Runs the code blocks of README.md and docs/, each alone: Python, and every `$ unvanish …` of a console block."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser


def run_console(example: Example) -> None:
    """Each `$ unvanish …` must end with the code that the next comment names (`# exit code 2`), or 0."""
    for line in str(example.parsed).splitlines():
        if not line.startswith("$ unvanish"):
            continue
        command, _, comment = line[2:].partition("  #")
        expected = int(found[1]) if (found := re.search(r"exit code (\d+)", comment)) else 0
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=example.namespace["folder"], check=False)
        assert done.returncode == expected, f"{command}\n{done.stdout}{done.stderr}"


def run_python(example: Example) -> None:
    """Alone, as it is pasted: nothing of the blocks before it is there."""
    place = f"{example.path}:{example.line}"
    exec(compile(str(example.parsed), place, "exec"), {"__name__": "pasted"})


def enter_folder(namespace: dict) -> None:
    import tempfile

    namespace["folder"] = tempfile.mkdtemp(prefix="unvanish-docs-")
    namespace["before"] = Path.cwd()
    os.chdir(namespace["folder"])


def leave_folder(namespace: dict) -> None:
    import shutil

    os.chdir(namespace["before"])
    shutil.rmtree(namespace["folder"])


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", run_python), CodeBlockParser("console", run_console)],
    patterns=["README.md", "docs/*.md", "docs/methods/*.md"],
    setup=enter_folder,
    teardown=leave_folder,
).pytest()


__all__ = ["pytest", "pytest_collect_file"]
