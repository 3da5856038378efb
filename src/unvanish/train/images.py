"""The images of the study as batches: in the published order, drawn from the published random numbers."""
# R runs (none in front where a run is alone), B batch, D = 784 pixels, N samples

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unvanish.data.fashion_mnist import FashionMNIST, Images, scaled
from unvanish.data.order import draw_base_seed, epoch_order
from unvanish.train.batches import Batch, Draw
from unvanish.train.native.passes import scaled_rows


@dataclass(frozen=True)
class ImageData:
    """Batches of so many images; `lead` are the dimensions of runs that go through them together."""

    images: FashionMNIST
    batch: int
    lead: tuple[int, ...] = ()

    ended = False

    def epoch(self, draw: Draw) -> Iterator[Batch]:
        order = draw(lambda: epoch_order(len(self.images.train))).to(self.images.train.labels_N.device)
        return (_picked(self.images.train, picked_B) for picked_B in order.split(self.batch, -1))

    def held_out(self) -> Iterator[Batch]:
        test = self.images.test
        parts = zip(test.pixels_ND.split(self.batch), test.labels_N.split(self.batch), strict=True)
        return (Batch(x.expand(*self.lead, *x.shape), y.expand(*self.lead, *y.shape)) for x, y in parts)

    def end_epoch(self, draw: Draw) -> None:
        draw(lambda: torch.tensor(draw_base_seed()))

    def behind(self, prefix: nn.Module | None) -> "ImageData":
        train, test = self.images.train, self.images.test
        if prefix is None:  # scaled once, not every epoch
            return replace(self, images=FashionMNIST(train, replace(test, pixels_ND=scaled(test.pixels_ND))))
        return replace(self, images=FashionMNIST(*(_passed(images, prefix, self.batch) for images in (train, test))))


def _picked(images: Images, picked_B: Tensor) -> Batch:
    """Also of many batches at once, [R, B]."""
    # `index_select` copies whole rows; indexing by brackets costs seven times as much on CPU
    flat, shape = picked_B.flatten(), picked_B.shape
    labels = images.labels_N.index_select(0, flat)  # first, for it checks the numbers: a kernel does not
    x_BD = scaled_rows(images.pixels_ND, flat)
    if x_BD is None:
        x_BD = scaled(images.pixels_ND.index_select(0, flat))
    return Batch(x_BD.unflatten(0, shape), labels.unflatten(0, shape))


@torch.no_grad()
def _passed(images: Images, prefix: nn.Module, batch: int) -> Images:
    features = [prefix(scaled(pixels_BD)) for pixels_BD in images.pixels_ND.split(batch)]
    return replace(images, pixels_ND=torch.cat(features))
