"""A diagnosis: the findings of all checks, and the reading that they come from."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unvanish.core.check import Examination, ordered
from unvanish.core.errors import UnvanishError
from unvanish.core.finding import Finding
from unvanish.core.reading import QUANTITIES, Reading
from unvanish.doctor.checks import ALL

SHOWN = (*QUANTITIES, "forward_factor_L", "backward_factor_L")


class Sick(UnvanishError):
    """Raised by `raise_if_sick`; its text is the diagnosis."""


@dataclass(frozen=True)
class Diagnosis:
    """What a network suffers from.

    findings   causes first, the most certain in front, each followed by its consequences
    reading    what was measured of every layer
    learns     whether it learned in the trial; `None` where there was none, or too short a one
    steps      how many optimizer steps were taken on copies
    unseen     layers that train but could not be measured: their operations are not known
    learns_at  factors on the learning rate at which it learns, where it does not learn as it is
    """

    title: str
    findings: tuple[Finding, ...]
    reading: Reading
    learns: bool | None = None
    steps: int = 0
    learns_at: tuple[float, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def sick(self) -> bool:
        return any(finding.sure for finding in self.findings)

    @property
    def primary(self) -> Finding | None:
        """The cause, or `None` where the network is healthy or nothing is sure."""
        return next((finding for finding in self.findings if finding.sure), None)

    def __str__(self) -> str:
        from unvanish.doctor.text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from unvanish.doctor.page import fragment

        return fragment(self)

    def to_html(self, path: str | Path) -> None:
        """Write a page with the findings, the flow plot and the table; it works offline."""
        from unvanish.doctor.page import page

        Path(path).write_text(page(self), encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; NaN becomes `None`."""
        return {
            "title": self.title,
            "sick": self.sick,
            "learns": self.learns,
            "steps": self.steps,
            "learns_at": list(self.learns_at),
            "unseen": list(self.unseen),
            "primary": self.primary.code if self.primary else None,
            "findings": [
                {**asdict(finding), "evidence": {name: _finite(value) for name, value in finding.evidence.items()}}
                for finding in self.findings
            ],
            "layers": [
                {"layer": layer}
                | {name.removesuffix("_L"): _finite(getattr(self.reading, name)[index]) for name in SHOWN}
                for index, layer in enumerate(self.reading.layers)
            ],
            "through_time": {name: list(map(_finite, norms)) for name, norms in self.reading.through_time.items()},
        }

    def raise_if_sick(self) -> None:
        """Raises `Sick` with the whole diagnosis as its text."""
        if self.sick:
            raise Sick(f"{self.title} is sick\n\n{self}")


def diagnose(examination: Examination, *, title: str, steps: int = 0) -> Diagnosis:
    """Ask every check."""
    found = [finding for check in ALL if (finding := check.examine(examination)) is not None]
    return Diagnosis(
        title,
        ordered(found),
        examination.reading,
        learns=examination.learns,
        steps=steps,
        learns_at=examination.learns_at,
        unseen=examination.unseen,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
