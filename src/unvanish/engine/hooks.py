"""The gradient flow seen by hooks: for any network, whatever its `forward` does.

A tensor's own hook is used for the backward signal: a module's full backward hook breaks on an
activation that works in place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from unvanish.core.sites import Site
from unvanish.engine.flow import Flow


@contextmanager
def listening(flow: Flow) -> Iterator[None]:
    """Within the block, what passes the flow's sites is measured; afterwards no hook is left."""
    hooks = []
    for site in flow.sites:
        if site.activation is None:
            hooks.append(site.layer.register_forward_hook(_on_layer(flow, site)))
        else:
            hooks.append(site.activation.register_forward_pre_hook(_on_pre_activation(flow, site)))
            hooks.append(site.activation.register_forward_hook(_on_activation(flow, site)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _on_layer(flow: Flow, site: Site) -> Callable[[nn.Module, tuple, Tensor], None]:
    def hook(_module: nn.Module, _args: tuple, z: Tensor) -> None:
        flow.pre_activation(site, z.detach())
        flow.activation(site, z.detach())
        _on_gradient(flow, site, z)

    return hook


def _on_pre_activation(flow: Flow, site: Site) -> Callable[[nn.Module, tuple], None]:
    def hook(_module: nn.Module, args: tuple) -> None:
        # An in-place activation is about to overwrite z; a gradient hook set before that still
        # gets the gradient of what z was.
        flow.pre_activation(site, args[0].detach())
        _on_gradient(flow, site, args[0])

    return hook


def _on_activation(flow: Flow, site: Site) -> Callable[[nn.Module, tuple, Tensor], None]:
    def hook(_module: nn.Module, _args: tuple, h: Tensor) -> None:
        flow.activation(site, h.detach())

    return hook


def _on_gradient(flow: Flow, site: Site, z: Tensor) -> None:
    if z.requires_grad:
        z.register_hook(lambda dz: flow.backward(site, dz))
