"""The images of the study as batches: in the published order, drawn from the published random numbers."""
# R runs (none in front where a run is alone), B batch, D = 784 pixels, N samples

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unvanish.data.images import DataSet, Images, scaled
from unvanish.data.order import draw_base_seed, epoch_order
from unvanish.train.batches import Batch, Draw


@dataclass(frozen=True)
class ImageData:
    """Batches of so many images; `lead` are the dimensions of runs that go through them together."""

    images: DataSet
    batch: int
    lead: tuple[int, ...] = ()

    ended = False

    def epoch(self, draw: Draw) -> "Picked":
        order = draw(lambda: epoch_order(len(self.images.train))).to(self.images.train.labels_N.device)
        return Picked(self.images.train, order, self.batch)

    def held_out(self) -> Iterable[Batch]:
        test = self.images.test
        whole = Picked(test, torch.arange(len(test), device=test.labels_N.device), self.batch)
        expanded = ((x.expand(*self.lead, *x.shape), y.expand(*self.lead, *y.shape)) for x, y in whole.pairs())
        return (Batch(*pair) for pair in expanded) if self.lead else whole

    def end_epoch(self, draw: Draw) -> None:
        draw(lambda: torch.tensor(draw_base_seed()))

    def behind(self, prefix: nn.Module | None) -> "ImageData":
        if prefix is None:
            return self
        both = (_passed(images, prefix, self.batch) for images in (self.images.train, self.images.test))
        return replace(self, images=DataSet(self.images.name, *both))


@dataclass(frozen=True, eq=False)
class Picked:
    """Images in this order, in batches: of one run, [M], or of many together, [R, M]."""

    images: Images
    order_M: Tensor
    batch: int

    def __len__(self) -> int:
        return -(-self.order_M.shape[-1] // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        return (Batch(*pair) for pair in self.pairs())

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for picked_B in self.order_M.split(self.batch, -1):
            # `index_select` copies whole rows; indexing by brackets costs seven times as much on CPU
            flat, shape = picked_B.flatten(), picked_B.shape
            x_BD = scaled(self.images.pixels_ND.index_select(0, flat))
            yield x_BD.unflatten(0, shape), self.images.labels_N.index_select(0, flat).unflatten(0, shape)

    def part(self, first: int, batches: int) -> "Picked":
        """So many batches, from that one on."""
        return replace(self, order_M=self.order_M[..., first * self.batch : (first + batches) * self.batch])


@torch.no_grad()
def _passed(images: Images, prefix: nn.Module, batch: int) -> Images:
    features = [prefix(scaled(pixels_BD)) for pixels_BD in images.pixels_ND.split(batch)]
    return replace(images, pixels_ND=torch.cat(features))
