"""Which weights take part in the output, and which of these the module and the optimizer know."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.diagnosis.evidence.parts import leaves
from unvanish.measure.graph.layers import tensors_in

DEEP = 4  # containers within containers


@dataclass(frozen=True)
class Parameters:
    """What of the output's weights is not trained.

    unregistered   weights that the output depends on and `parameters()` does not give, as attributes of the model
    made_anew      weights that are made in the forward pass itself, another each time
    not_held       layers that take part, want a gradient, and that no optimizer holds
    held           layers that take part and are held
    prefix         the layers that are not held stand in front of all that are held: frozen on purpose, perhaps
    share          of the elements of all weights that take part, those that are held
    stale          how many parameters the optimizer holds that are not the model's
    frozen         no parameter wants a gradient
    rates          the learning rates of the optimizer's groups
    warms_up       a schedule sets the rate
    """

    unregistered: tuple[str, ...] = ()
    made_anew: bool = False
    not_held: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    prefix: bool = False
    share: float = 1.0
    stale: int = 0
    frozen: bool = False
    rates: tuple[float, ...] = ()
    warms_up: bool = False


def parameters_of(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, output: Any, names: Mapping[int, str]
) -> Parameters:
    """`output` is that of one forward pass."""
    own = {id(p) for p in model.parameters()}
    groups = optimizer.param_groups if optimizer is not None else []
    in_optimizer = {id(p) for group in groups for p in group["params"]}
    found = {id(leaf): leaf for one in tensors_in(output) for leaf in leaves(one.grad_fn)}
    foreign = {key: leaf for key, leaf in found.items() if key not in own and key not in in_optimizer}
    known_as = dict(_attributes(model))
    unregistered = tuple(dict.fromkeys(known_as[key] for key in foreign if key in known_as))
    anew = any(isinstance(leaf, nn.Parameter) and key not in known_as for key, leaf in foreign.items())
    taking_part = [p for p in model.parameters() if id(p) in found]
    held = [p for p in taking_part if id(p) in in_optimizer]
    not_held = [p for p in taking_part if id(p) not in in_optimizer] if optimizer is not None else []
    order = [id(p) in in_optimizer for p in taking_part]
    total = sum(p.numel() for p in taking_part)
    everything = list(model.parameters())
    return Parameters(
        unregistered,
        anew,
        _layers(not_held, names),
        _layers(held, names),
        prefix=order == sorted(order),
        share=sum(p.numel() for p in held) / total if total else 1.0,
        stale=len(in_optimizer - own - set(found)) if optimizer is not None else 0,
        frozen=bool(everything) and not any(p.requires_grad for p in everything),
        rates=tuple(float(group.get("lr", 1.0)) for group in groups),
        warms_up=any("initial_lr" in group for group in groups),
    )


def _layers(parameters: Iterable[nn.Parameter], names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.get(id(p), "?") for p in parameters))


def _attributes(model: nn.Module) -> Iterator[tuple[int, str]]:
    """Leaves that modules keep outside of their registers: in lists, dicts and plain attributes. `id`, path."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if not key.startswith("_parameters") and key not in ("_buffers", "_modules"):
                yield from _within(value, f"{name}.{key}" if name else key, DEEP)


def _within(value: Any, path: str, deep: int) -> Iterator[tuple[int, str]]:
    if isinstance(value, nn.Module):
        yield from ((id(p), path) for p in value.parameters())
    elif isinstance(value, Tensor):
        yield id(value), path
    elif deep and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _within(inner, f"{path}[{key!r}]", deep - 1)
    elif deep and isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _within(inner, f"{path}[{index}]", deep - 1)
