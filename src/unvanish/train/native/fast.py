"""The fast step: forward and backward of a leaf sequence written out, in buffers that are used again every step.

It leaves the same bits as the plain step, because it calls the kernels that autograd would call, with
the same operands in the same layout. What it saves is the graph, the module calls and the memory that
a plain step takes and gives back for every tensor: about a twentieth of the time at width 128 and
batch 512 (`benchmarks/step.py` times both).

    z_i = h_(i−1) W_iᵀ + b_i,   h_i = φ(z_i);      dz_i = dh_i φ′(z_i),   dW_i = dz_iᵀ h_(i−1),   dh_(i−1) = dz_i W_i

A link without a form of its own (a normalisation, a rarer activation) is differentiated by autograd,
on its own; so is the loss.
"""
# B batch, D features in, E features out

from collections.abc import Callable, Sequence
from typing import Protocol, final

import torch
from torch import Tensor, nn

from unvanish.core.setup import Loss
from unvanish.modules.wiring import Add, Put, Wire
from unvanish.train.batches import Batch
from unvanish.train.native.recorder import SurveyRecorder

aten = torch.ops.aten

Forward = Callable[[Tensor, Tensor], object]  # z, into h
Backward = Callable[[Tensor, Tensor, Tensor], object]  # dh, h, into dz

KERNELS: dict[type[nn.Module], tuple[Forward, Backward]] = {
    nn.Sigmoid: (
        lambda z, h: torch.sigmoid(z, out=h),
        lambda dh, h, dz: aten.sigmoid_backward.grad_input(dh, h, grad_input=dz),
    ),
    nn.Tanh: (
        lambda z, h: torch.tanh(z, out=h),
        lambda dh, h, dz: aten.tanh_backward.grad_input(dh, h, grad_input=dz),
    ),
    nn.ReLU: (
        lambda z, h: torch.clamp_min(z, 0, out=h),
        lambda dh, h, dz: aten.threshold_backward.grad_input(dh, h, 0, grad_input=dz),
    ),
}


def has_fast_form(leaves: Sequence[nn.Module]) -> bool:
    """Whether the leaf sequence is a multilayer perceptron's: `Linear` layers and what stands between them."""
    parameters = [id(parameter) for module in leaves for parameter in module.parameters()]
    return (
        any(type(module) is nn.Linear for module in leaves)
        and not any(isinstance(module, nn.modules.conv._ConvNd | nn.RNNBase) for module in leaves)
        and not any(getattr(module, "inplace", False) for module in leaves)
        and len(set(parameters)) == len(parameters)
    )


class Link(Protocol):
    """One leaf of the leaf sequence.

    It may overwrite the gradient that it is given, and keeps no reference to it; what it returns is
    the caller's until the link's next call.
    """

    trains: bool

    def forward(self, h: Tensor) -> Tensor: ...

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        """Put its parameters' gradients in place; the gradient of its input, where that is `wanted`."""
        ...


@final
class FastGradients:
    """Forward, loss, backward of a leaf sequence that `has_fast_form`."""

    name = "fast"

    def __init__(self, leaves: Sequence[nn.Module], loss_of: Loss, recorder: SurveyRecorder) -> None:
        self.leaves, self.loss_of, self.recorder = leaves, loss_of, recorder
        self.links = _links(leaves)
        self.first = next(index for index, link in enumerate(self.links) if link.trains)
        self.forward = nn.Sequential(*leaves)

    @torch.no_grad()
    def __call__(self, batch: Batch, *, measured: bool) -> tuple[Tensor, Tensor]:
        recorder = self.recorder
        sites = {site.activation or site.layer: site for site in recorder.sites} if measured else {}
        h = batch.input
        for module, link in zip(self.leaves, self.links, strict=True):
            site = sites.get(module)
            if site and site.activation:
                recorder.pre_activation(site, h)  # the link may overwrite it
            h = link.forward(h)
            if site:
                if not site.activation:
                    recorder.pre_activation(site, h)
                recorder.activation(site, h)

        output = h.detach().requires_grad_()
        with torch.enable_grad():
            loss = self.loss_of(output, batch.target)
        (d,) = torch.autograd.grad(loss, output)

        for index in range(len(self.links) - 1, self.first - 1, -1):
            site = sites.get(self.leaves[index])
            if site and not site.activation:
                recorder.backward(site, d)
            d = self.links[index].backward(d, wanted=index > self.first)
            if site and site.activation:
                recorder.backward(site, d)
        return loss.detach(), output.detach()


class _Buffer:
    """A tensor for each number of rows, made when it is first needed: the last batch is shorter.

    Using the same memory in every step keeps it in the cache.
    """

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, int], Tensor] = {}

    def like(self, h: Tensor, width: int) -> Tensor:
        key = (len(h), width)
        if key not in self._tensors:
            self._tensors[key] = h.new_empty(key)
        return self._tensors[key]


class _Pair:
    """Two buffers in turn: a gradient on its way down is read from one and written to the other."""

    def __init__(self) -> None:
        self._one, self._two = _Buffer(), _Buffer()

    def other(self, d: Tensor, width: int) -> Tensor:
        one = self._one.like(d, width)
        return self._two.like(d, width) if one is d else one


class _Linear:
    def __init__(self, layer: nn.Linear, scratch: _Pair) -> None:
        self.weight_ED, self.bias_E = layer.weight, layer.bias
        self.trains = layer.weight.requires_grad
        self.out, self.scratch = _Buffer(), scratch
        if self.trains:
            for parameter in layer.parameters():
                parameter.grad = torch.empty_like(parameter)

    def forward(self, h: Tensor) -> Tensor:
        self.h_BD = h
        z_BE = self.out.like(h, len(self.weight_ED))
        if self.bias_E is None:
            return torch.mm(h, self.weight_ED.t(), out=z_BE)
        return torch.addmm(self.bias_E, h, self.weight_ED.t(), out=z_BE)

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        if self.trains:
            torch.mm(dh.t(), self.h_BD, out=self.weight_ED.grad)
            if self.bias_E is not None:
                torch.sum(dh, 0, out=self.bias_E.grad)
        if not wanted:
            return dh
        return torch.mm(dh, self.weight_ED, out=self.scratch.other(dh, self.weight_ED.shape[1]))


class _Activation:
    trains = False

    def __init__(self, kind: type[nn.Module], *, in_place: bool) -> None:
        self.up, self.down = KERNELS[kind]
        self.out = None if in_place else _Buffer()

    def forward(self, h: Tensor) -> Tensor:
        self.h = self.out.like(h, h.shape[1]) if self.out else h
        self.up(h, self.h)
        return self.h

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        self.down(dh, self.h, dh)
        return dh


class _BatchNorm:
    """Batch norm over a batch of its own statistics (the network is in training mode): ATen's kernels."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        self.norm, self.gamma, self.beta = norm, norm.weight, norm.bias
        self.trains = norm.affine and norm.weight.requires_grad

    def forward(self, h: Tensor) -> Tensor:
        norm = self.norm
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        self.h = h
        out, self.mean, self.inverse_std = aten.native_batch_norm(
            h, self.gamma, self.beta, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        return out

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        norm, mask = self.norm, [True, self.trains, self.trains]
        dz, dgamma, dbeta = aten.native_batch_norm_backward(
            dh,
            self.h,
            self.gamma,
            norm.running_mean,
            norm.running_var,
            self.mean,
            self.inverse_std,
            True,
            norm.eps,
            mask,
        )
        if self.trains:
            self.gamma.grad, self.beta.grad = dgamma, dbeta
        return dz


class _Local:
    """Any module, differentiated by autograd on its own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.trains = bool(self.parameters)

    def forward(self, h: Tensor) -> Tensor:
        self.h = h.detach().requires_grad_()
        with torch.enable_grad():
            out = self.module(self.h)
        self.out: Tensor | None = out
        return out.detach()

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        out, self.out = self.out, None  # its graph goes with it
        assert out is not None
        out.backward(dh)
        assert self.h.grad is not None
        return self.h.grad


class _Carried:
    """What is on a wire: the tensor on the way up, its gradient on the way down."""

    up: Tensor
    down: Tensor


class _Put:
    trains = False

    def __init__(self, carried: _Carried) -> None:
        self.carried = carried

    def forward(self, h: Tensor) -> Tensor:
        self.carried.up = h
        return h

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        return dh.add_(self.carried.down)


class _Add:
    trains = False

    def __init__(self, carried: _Carried) -> None:
        self.carried = carried
        self.out, self.down = _Buffer(), _Buffer()

    def forward(self, h: Tensor) -> Tensor:
        return torch.add(h, self.carried.up, out=self.out.like(h, h.shape[1]))

    def backward(self, dh: Tensor, *, wanted: bool) -> Tensor:
        self.carried.down = self.down.like(dh, dh.shape[1]).copy_(dh)
        return dh


def _links(leaves: Sequence[nn.Module]) -> list[Link]:
    links: list[Link] = []
    scratch = _Pair()
    wires: dict[Wire, _Carried] = {}
    for module in leaves:
        if type(module) is nn.Linear:
            links.append(_Linear(module, scratch))
        elif type(module) is nn.BatchNorm1d and module.training and module.momentum is not None:
            links.append(_BatchNorm(module))
        elif type(module) in KERNELS:  # nobody but the activation reads what these give
            links.append(
                _Activation(type(module), in_place=bool(links) and isinstance(links[-1], _Linear | _BatchNorm))
            )
        elif isinstance(module, Put | Add):
            carried = wires.setdefault(module.wire, _Carried())
            links.append(_Put(carried) if isinstance(module, Put) else _Add(carried))
        else:
            links.append(_Local(module))
    return links
