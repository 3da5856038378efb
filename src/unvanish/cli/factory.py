"""A model, its loss, optimizer and batches, from `FILE.py:FACTORY` on a command line."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional

from unvanish.core.errors import RecipeError, UnvanishError, as_theirs, did_you_mean


def from_factories(factory: str, batches: str | None) -> dict[str, Any]:
    """What `check` takes, from what the factories give. `RecipeError` in a sentence where they cannot be called.

    The factory is called without arguments and gives a model, or a dict with `model` and, if it likes, `batches`,
    `loss_fn` and `optimizer`. `batches` gives an iterable of (input, target).
    """
    found = _called(factory)
    parts: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {"model": found}
    if not isinstance(found, Mapping | nn.Module):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise RecipeError(f"{factory} must give a torch.nn.Module, or a dict with one as 'model'; it gave {kind}")
    if batches is not None:
        parts["batches"] = _called(batches)
    if parts.get("batches") is None:
        raise RecipeError(
            f"{factory} gave no batches: name a factory with --batches FILE.py:FACTORY, or give a dict with 'batches', "
            "an iterable of (input, target)"
        )
    if parts.get("loss_fn") is None and parts.get("loss") is None:
        parts["loss_fn"] = functional.cross_entropy
    return parts


def _called(spec: str) -> Any:
    path, colon, name = spec.rpartition(":")
    if not colon or not path or not name:
        raise RecipeError(f"'{spec}' is not FILE.py:FACTORY, such as model.py:make_model")
    factory = getattr(_module(Path(path)), name, None)
    if factory is None:
        names = [key for key, value in vars(_module(Path(path))).items() if callable(value)]
        raise RecipeError(f"{path} has no '{name}'{did_you_mean(name, names)}")
    if isinstance(factory, nn.Module) or not callable(factory):
        return factory
    needed = _needed(factory)
    if needed:
        raise RecipeError(f"{spec} needs {_words(needed)}; the factory is called without arguments")
    with theirs(f"{spec} failed: "):
        return factory()


@contextmanager
def theirs(what: str = "") -> Iterator[None]:
    """Around code of the user's: whatever it raises is told as theirs, with its place in their file."""
    try:
        yield
    except (KeyboardInterrupt, UnvanishError):
        raise
    except BaseException as error:
        raise RecipeError(f"{what}{as_theirs(error)}") from error


def _module(path: Path) -> Any:
    if not path.is_file():
        raise RecipeError(f"there is no file {path}")
    if path.suffix != ".py":
        raise RecipeError(f"{path} is no Python file: its name does not end in .py")
    name = f"unvanish_checked_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and Path(known.__file__ or "").resolve() == path.resolve():
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # so that it finds its neighbours; last, so that none is taken for a package
        sys.path.append(folder)
    try:
        with theirs(f"{path} cannot be run: "):
            spec.loader.exec_module(module)
    except RecipeError:
        del sys.modules[name]
        raise
    return module


def _needed(factory: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variable]


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
