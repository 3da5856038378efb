"""Every operation of torch that autograd knows, in a small network, under `watch` and `check`: nothing raises.

What cannot be measured is not measured, and the training goes on with the same bits.
"""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unvanish as uv

ROWS, WIDTH = 16, 12

ELEMENTWISE = [
    "abs",
    "acos",
    "acosh",
    "angle",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "floor",
    "frac",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "logit",
    "neg",
    "positive",
    "rad2deg",
    "reciprocal",
    "relu",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sgn",
    "sin",
    "sinc",
    "sinh",
    "softmax_",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "nan_to_num",
    "i0",
    "negative",
    "arccos",
    "arctan",
    "clone",
    "contiguous",
    "sum_",
    "mean_",
    "cumsum_",
    "cumprod_",
    "logcumsumexp_",
    "logsumexp_",
    "amax_",
    "amin_",
    "max_",
    "min_",
    "median_",
    "std_",
    "var_",
    "norm_",
    "prod_",
    "sort_",
    "argsort_",
    "topk_",
    "flip_",
    "roll_",
    "renorm_",
    "cummax_",
    "cummin_",
    "kthvalue_",
    "quantile_",
    "aminmax_",
    "diff_",
    "unfold_",
    "narrow_",
    "nansum_",
    "nanmean_",
    "softplus_",
    "swapaxes_",
]
BY_NAME: dict[str, Callable[[Tensor], Tensor]] = {
    name: (lambda h, name=name: getattr(torch, name)(h)) for name in ELEMENTWISE if not name.endswith("_")
} | {
    "contiguous": lambda h: h.contiguous(),
    "softmax": lambda h: h.softmax(-1),
    "log_softmax": lambda h: h.log_softmax(-1),
    "sum": lambda h: h - h.sum(-1, keepdim=True),
    "mean": lambda h: h - h.mean(0, keepdim=True),
    "cumsum": lambda h: h.cumsum(-1),
    "cumprod": lambda h: h.cumprod(-1),
    "logcumsumexp": lambda h: h.logcumsumexp(-1),
    "logsumexp": lambda h: h - h.logsumexp(-1, keepdim=True),
    "amax": lambda h: h - h.amax(-1, keepdim=True),
    "max": lambda h: h + h.max(-1, keepdim=True).values,
    "median": lambda h: h - h.median(-1, keepdim=True).values,
    "std": lambda h: h / (h.std(0, keepdim=True) + 1),
    "var": lambda h: h / (h.var(0, keepdim=True) + 1),
    "norm": lambda h: h / (h.norm(dim=-1, keepdim=True) + 1),
    "prod": lambda h: h * h.prod(-1, keepdim=True),
    "sort": lambda h: h.sort(-1).values,
    "topk": lambda h: h + h.topk(3, -1).values.sum(-1, keepdim=True),
    "flip": lambda h: h.flip(-1),
    "roll": lambda h: h.roll(1, -1),
    "renorm": lambda h: h.renorm(2, 0, 1.0),
    "cummax": lambda h: h.cummax(-1).values,
    "kthvalue": lambda h: h - h.kthvalue(2, -1, keepdim=True).values,
    "quantile": lambda h: h - h.quantile(0.3, -1, keepdim=True),
    "diff": lambda h: F.pad(h.diff(dim=-1), (1, 0)),
    "unfold": lambda h: F.pad(h, (1, 1)).unfold(-1, 3, 1).mean(-1),
    "clamp by numbers": lambda h: h.clamp(-0.5, 0.5),
    "clamp by a tensor": lambda h: torch.clamp(h, min=torch.zeros(WIDTH)),
    "clamp by two tensors": lambda h: torch.clamp(h, torch.full((WIDTH,), -1.0), torch.ones(WIDTH)),
    "clamp_max": lambda h: h.clamp_max(0.3),
    "clamp_min_ in place": lambda h: (h * 1).clamp_min_(0.1),
    "maximum": lambda h: torch.maximum(h, torch.zeros_like(h)),
    "minimum": lambda h: torch.minimum(h, h.mean()),
    "where": lambda h: torch.where(h > 0, h, h * 0.1),
    "masked_fill": lambda h: h.masked_fill(h < 0, 0.0),
    "pow": lambda h: h.abs().pow(1.5),
    "fmod": lambda h: h.fmod(0.7),
    "remainder": lambda h: h.remainder(0.7),
    "hypot": lambda h: torch.hypot(h, h + 1),
    "atan2": lambda h: torch.atan2(h, h + 2),
    "logaddexp": lambda h: torch.logaddexp(h, -h),
    "lerp": lambda h: torch.lerp(h, -h, 0.3),
    "addcmul": lambda h: torch.addcmul(h, h, h, value=0.1),
    "cdist": lambda h: h @ torch.cdist(h.T, h.T),
    "einsum": lambda h: torch.einsum("bi,ij->bj", h, torch.eye(WIDTH)),
    "outer": lambda h: h + torch.outer(h[:, 0], h[0]),
    "bmm": lambda h: torch.bmm(h[:, None], torch.eye(WIDTH).expand(len(h), -1, -1))[:, 0],
    "baddbmm": lambda h: torch.baddbmm(h[:, None], h[:, None], torch.eye(WIDTH).expand(len(h), -1, -1))[:, 0],
    "kron": lambda h: torch.kron(h, torch.ones(1, 1)),
    "tensordot": lambda h: torch.tensordot(h, torch.eye(WIDTH), 1),
    "matrix_exp": lambda h: h @ torch.linalg.matrix_exp(h.T @ h / 100),
    "cholesky": lambda h: h @ torch.linalg.cholesky(h.T @ h + torch.eye(WIDTH)),
    "inverse": lambda h: h @ torch.linalg.inv(h.T @ h + torch.eye(WIDTH)),
    "solve": lambda h: torch.linalg.solve(h.T @ h + torch.eye(WIDTH), h.T).T,
    "qr": lambda h: torch.linalg.qr(h)[0],
    "svdvals": lambda h: h / (1 + torch.linalg.svdvals(h)[0]),
    "eigh": lambda h: h * torch.linalg.eigvalsh(h.T @ h + torch.diag(torch.arange(WIDTH).float())).mean(),
    "det": lambda h: h * torch.linalg.det(torch.eye(WIDTH) + 0.01 * h.T @ h),
    "slogdet": lambda h: h * torch.linalg.slogdet(torch.eye(WIDTH) + h.T @ h)[1],
    "lstsq": lambda h: torch.linalg.lstsq(torch.eye(ROWS)[: len(h), : len(h)], h).solution,
    "index": lambda h: h[:, torch.randperm(WIDTH)],
    "index_select": lambda h: h.index_select(1, torch.arange(WIDTH - 1, -1, -1)),
    "gather": lambda h: h.gather(1, h.argsort(1)),
    "scatter": lambda h: torch.zeros_like(h).scatter(1, h.argsort(1), h),
    "scatter_add": lambda h: torch.zeros_like(h).scatter_add(1, torch.zeros_like(h, dtype=torch.long), h),
    "index_add": lambda h: h.index_add(1, torch.tensor([0]), h[:, :1]),
    "take_along_dim": lambda h: h.take_along_dim(h.argsort(1), 1),
    "tril": lambda h: h.tril(),
    "diag_embed": lambda h: h.diag_embed().sum(-1),
    "split": lambda h: torch.cat(h.split(4, 1)[::-1], 1),
    "chunk": lambda h: torch.stack(h.chunk(3, 1), 1).flatten(1),
    "repeat_interleave": lambda h: h.repeat_interleave(2, 1)[:, ::2],
    "tile": lambda h: h.tile(1, 2)[:, :WIDTH],
    "pad": lambda h: F.pad(h, (1, 0))[:, 1:],
    "max_pool1d": lambda h: F.max_pool1d(h[:, None], 3, 1, 1)[:, 0],
    "avg_pool1d": lambda h: F.avg_pool1d(h[:, None], 3, 1, 1)[:, 0],
    "max_pool2d": lambda h: F.max_pool2d(h.view(-1, 1, 3, 4), 3, 1, 1).flatten(1),
    "avg_pool2d": lambda h: F.avg_pool2d(h.view(-1, 1, 3, 4), 3, 1, 1).flatten(1),
    "adaptive_avg_pool1d": lambda h: F.adaptive_avg_pool1d(h[:, None], WIDTH)[:, 0],
    "adaptive_max_pool1d": lambda h: F.adaptive_max_pool1d(h[:, None], WIDTH)[:, 0],
    "lp_pool1d": lambda h: F.lp_pool1d(h[:, None].abs() + 0.1, 2, 3, 1)[:, 0, :1] + h,
    "fractional_max_pool2d": lambda h: F.fractional_max_pool2d(h.view(-1, 1, 3, 4), 2, (2, 2)).flatten(1)[:, :1] + h,
    "pixel_shuffle": lambda h: F.pixel_shuffle(h.view(-1, 4, 1, 3), 2).flatten(1),
    "interpolate": lambda h: F.interpolate(h[:, None], WIDTH, mode="linear")[:, 0],
    "grid_sample": lambda h: F.grid_sample(
        h.view(-1, 1, 3, 4), torch.zeros(len(h), 3, 4, 2), align_corners=False).flatten(1) + h,
    "conv1d": lambda h: F.conv1d(h[:, None], torch.ones(1, 1, 3), padding=1)[:, 0],
    "conv_transpose1d": lambda h: F.conv_transpose1d(h[:, None], torch.ones(1, 1, 3), padding=1)[:, 0],
    "fft": lambda h: torch.fft.ifft(torch.fft.fft(h) * 2).real,
    "rfft": lambda h: torch.fft.irfft(torch.fft.rfft(h), n=WIDTH),
    "complex": lambda h: torch.view_as_real(torch.complex(h, h)).sum(-1),
    "layer_norm": lambda h: F.layer_norm(h, (WIDTH,)),
    "group_norm": lambda h: F.group_norm(h, 3),
    "instance_norm": lambda h: F.instance_norm(h.view(-1, 3, 4)).flatten(1),
    "local_response_norm": lambda h: F.local_response_norm(h[:, :, None], 2)[:, :, 0],
    "normalize": lambda h: F.normalize(h),
    "dropout": lambda h: F.dropout(h, 0.2),
    "glu": lambda h: F.glu(torch.cat([h, h], 1)),
    "attention": lambda h: F.scaled_dot_product_attention(h[None], h[None], h[None])[0],
    "cosine_similarity": lambda h: h * F.cosine_similarity(h, h + 1)[:, None],
    "pairwise_distance": lambda h: h * F.pairwise_distance(h, h + 1)[:, None],
    "gumbel_softmax": lambda h: F.gumbel_softmax(h),
    "no gradient": lambda h: h + h.detach(),
    "an int on the way": lambda h: h + h.long(),
    "half precision": lambda h: h.bfloat16().float(),
    "double precision": lambda h: h.double().float(),
    "a sparse product": lambda h: torch.sparse.mm(torch.eye(WIDTH).to_sparse(), h.T).T,
    "0-dimensional": lambda h: h * h.sum().sigmoid(),
    "batch and units swapped": lambda h: h.T.relu().T,
}  # fmt: skip
ACTIVATIONS = (
    "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish prelu relu relu6 rrelu selu "
    "silu softmin softplus softshrink softsign tanhshrink threshold"
)
EXTRA = {"prelu": (torch.full((1,), 0.2),), "threshold": (0.1, 0.2), "softmin": (-1,)}
for name in ACTIVATIONS.split(" "):
    BY_NAME[name] = lambda h, name=name: getattr(F, name)(h, *EXTRA.get(name, ()))
    if "inplace" in getattr(F, name).__code__.co_varnames if hasattr(getattr(F, name), "__code__") else False:
        BY_NAME[f"{name} in place"] = lambda h, name=name: getattr(F, name)(h * 1, *EXTRA.get(name, ()), inplace=True)


class Net(nn.Module):
    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        h = self.operation(self.one(x).sigmoid() * 0.8 + 0.1).float()
        return self.three(self.operation(self.two(h).sigmoid() * 0.8 + 0.1).float())


def trained(operation: Callable[[Tensor], Tensor], watched: bool) -> list[Tensor]:
    torch.manual_seed(0)
    model = Net(operation)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    flow = uv.watch(model, optimizer, every=1)
    if watched:
        flow.start()
    for _ in range(3):
        x, y = torch.randn(ROWS, 6), torch.randint(0, 3, (ROWS,))
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    if watched:
        assert flow.steps == 3
        flow.diagnose()
        assert flow.table.steps == (0, 1, 2)
        assert {"one", "two", "three"} <= set(flow.table.layers)
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.filterwarnings("ignore")  # of torch's about itself; ours are counted
def test_watch_and_check_outlive_it(name: str) -> None:
    operation = BY_NAME[name]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loud = trained(operation, watched=True)
    assert not [str(one.message) for one in told if "unvanish" in str(one.message)]
    for ours, theirs in zip(loud, trained(operation, watched=False), strict=True):
        same = torch.equal(ours.nan_to_num(), theirs.nan_to_num())
        assert same or name == "lstsq"  # which is not the same twice by itself
    torch.manual_seed(0)
    model = Net(operation)
    batches = [(torch.randn(ROWS, 6), torch.randint(0, 3, (ROWS,))) for _ in range(4)]
    found = uv.check(model, batches, F.cross_entropy, torch.optim.SGD(model.parameters(), 0.05), steps=2)
    assert not [note for note in found.notes if "Error" in note]


class Fails(RuntimeError):
    pass


def test_what_fails_while_measuring_is_told_once_and_then_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from unvanish.measure.graph import passes

    def fails(*arguments: object) -> None:
        raise Fails("cannot be seen")

    monkeypatch.setattr(passes, "flat_ends", fails)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loud = trained(torch.tanh, watched=True)
    ours = [str(one.message) for one in told if "unvanish" in str(one.message)]
    assert ours == ["unvanish: activation of one is not measured from here on: Fails: cannot be seen"] or len(ours) == 1
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(loud, trained(torch.tanh, watched=False), strict=True))


def test_after_three_different_failures_nothing_more_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from unvanish.measure.graph import passes

    calls = iter(range(100))

    def fails(*arguments: object, **options: object) -> None:
        raise Fails(f"for the {next(calls)}th time")

    monkeypatch.setattr(passes, "moments", fails)
    torch.manual_seed(0)
    model = Net(torch.tanh)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with warnings.catch_warnings(record=True) as told, uv.watch(model, optimizer, every=1) as flow:
        warnings.simplefilter("always")
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(ROWS, 6)).square().mean().backward()
            optimizer.step()
    ours = [str(one.message) for one in told if "unvanish" in str(one.message)]
    assert len(ours) == 3
    assert "nothing more is measured" in ours[-1]
    assert flow.steps == 4
    assert len(flow.table.steps) <= 1


def test_warnings_that_are_errors_do_not_end_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from unvanish.measure.graph import passes

    monkeypatch.setattr(passes, "flat_ends", lambda *_: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(torch.tanh, watched=True)
