"""The published study as its notebooks ran it: plain modules, a real `DataLoader`, one pasted loop.

Written from the protocol alone, sharing no code with the package, so that the two can be compared
bit for bit.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Standardize(nn.Module):
    def forward(self, x):
        return (x - x.mean()) / x.std()


class FreshBatchNorm(nn.Module):
    """Built anew in every forward pass, as the notebook does."""

    def forward(self, x):
        return nn.BatchNorm1d(x.shape[1])(x)


class Net(nn.Module):
    def __init__(self, widths, act=nn.Sigmoid, norm=nn.Identity, skips=(), std=0.05):
        super().__init__()
        fans = [784, *widths]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(fans[:-1], widths, strict=True)])
        self.out = nn.Linear(widths[-1], 10)
        self.norms = nn.ModuleList([norm(b) if norm is nn.BatchNorm1d else norm() for b in widths])
        self.act, self.skips = act(), skips
        for layer in [*self.layers, self.out]:
            nn.init.normal_(layer.weight, 0, std)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        kept = {}
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True), start=1):
            x = self.act(norm(layer(x)))
            for a, b in self.skips:
                if b == number:
                    x = x + kept[a]
            kept[number] = x
        return self.out(x)


def sub_model(fan_in, widths):
    layers = OrderedDict()
    for number, width in enumerate(widths):
        layers[f"linear{number}"] = nn.Linear(fan_in, width)
        layers[f"act{number}"] = nn.Sigmoid()
        fan_in = width
    model = nn.Sequential(layers)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.05)
            nn.init.zeros_(layer.bias)
    return model


def loaders(data, samples, batch):
    x = torch.stack([image.float() / 255 for image in data.train.pixels_ND[:samples]])
    train = TensorDataset(x, data.train.labels_N[:samples])
    test = TensorDataset(data.test.pixels_ND.float() / 255, data.test.labels_N)
    return DataLoader(train, batch, shuffle=True), DataLoader(test, batch)


def fit(net, optimizer, train, test, epochs):
    loss_of = nn.CrossEntropyLoss()
    rows = []
    for _ in range(epochs):
        net.train()
        losses, right, seen = [], 0, 0
        for x, y in train:
            out = net(x)
            loss = loss_of(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right += (out.argmax(1) == y).sum().item()
            seen += len(y)
        net.eval()
        val_losses, val_right = [], 0
        with torch.no_grad():
            for x, y in test:
                out = net(x)
                val_losses.append(loss_of(out, y).item())
                val_right += (out.argmax(1) == y).sum().item()
        rows.append((sum(losses) / len(losses), right / seen, sum(val_losses) / len(val_losses), val_right / 10_000))
    return rows


WIDTHS = [128] * 7
NETS = {
    "baseline": lambda: Net(WIDTHS),
    "1a": lambda: Net(WIDTHS, std=1.0),
    "1b": lambda: Net(WIDTHS, std=10.0),
    "2": lambda: Net(WIDTHS, act=nn.ReLU),
    "3": lambda: Net(WIDTHS),
    "4a": lambda: Net(WIDTHS, norm=FreshBatchNorm),
    "4a-affine": lambda: Net(WIDTHS, norm=nn.BatchNorm1d),
    "4b": lambda: Net(WIDTHS, norm=Standardize),
    "5": lambda: Net(WIDTHS, skips=((1, 3), (4, 7))),
}


def run(method, data, *, samples, epochs, batch=512, seed=42):
    """Rows of (train loss, train acc, val loss, val acc), all trainings of method 6 in a row."""
    train, test = loaders(data, samples, batch)
    torch.manual_seed(seed)
    if method == "6":
        return _pile_up(train, test, epochs)
    net = NETS[method]()
    adam = method == "3"
    optimizer = torch.optim.Adam(net.parameters(), 0.001) if adam else torch.optim.SGD(net.parameters(), 0.01)
    return fit(net, optimizer, train, test, epochs)


def _pile_up(train, test, epochs):
    parts = [sub_model(784, [128, 128]), *(sub_model(128, [128] * n) for n in (2, 2, 1))]
    rows = []
    for count in range(1, 5):
        for frozen in [True, False] if count > 1 else [False]:
            for part in parts[: count - 1]:
                for parameter in part.parameters():
                    parameter.requires_grad = not frozen
            net = nn.Sequential(*parts[:count], nn.Linear(128, 10))
            optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.01)
            last = count == 4 and not frozen
            rows += fit(net, optimizer, train, test, epochs if last else max(1, round(epochs / 3)))
    return rows
