"""Where an activation is alive."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """Where an activation's slope is alive: between `low` and `high`; outside, it is flat.

    An end without a flat part is infinite: ReLU's region is (0, ∞), a sigmoid's about (−4.4, 4.4).
    """

    low: float
    high: float

    @property
    def two_sided(self) -> bool:
        return self.low > float("-inf") and self.high < float("inf")


EVERYWHERE = Region(float("-inf"), float("inf"))
