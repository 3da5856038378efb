"""A diagnosis: the findings of all checks, and the table that they come from."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unvanish.core.errors import UnvanishError
from unvanish.core.finding import Finding, Fix, Prescription
from unvanish.core.remedy import InitRemedy
from unvanish.core.table import Table
from unvanish.core.values import counted
from unvanish.diagnosis.checks import ALL
from unvanish.diagnosis.examination import Examination, ordered
from unvanish.diagnosis.fixes import applied
from unvanish.diagnosis.ruled_out import ruled_out
from unvanish.measure.series import Series, SeriesMapping
from unvanish.render.text import changes, finding_lines, layer_table, number, reasons, sentence, wrapped


class Failing(UnvanishError):
    """Raised by `raise_if_failing`; its text is the diagnosis."""


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a network.

    findings   causes first, the most certain in front, each followed by its consequences
    table      what was measured of every layer; `series[quantity]` gives a part of it
    learned    whether it learned in the trial; `None` where there was none, or too short a one
    steps      how many optimizer steps were taken on copies
    learns_at  factors on the learning rate at which it learns, where it does not learn as it is
    notes      what could not be examined, and why
    verdict    the first line, where it is not the usual one of a trial
    described  type and shape of the layers, by name
    example    an input such as the model was given, as Python
    ruled_out  what was examined and is not the cause
    predicted  by mean-field theory: RMS of the backward signal over the last layer's; empty where it says nothing
    """

    title: str
    findings: tuple[Finding, ...]
    table: Table
    learned: bool | None = None
    steps: int = 0
    learns_at: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: str | None = None
    described: Mapping[str, str] = field(default_factory=dict, hash=False)
    example: str = ""
    ruled_out: tuple[str, ...] = ()
    predicted: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def healthy(self) -> bool | None:
        """True: it learned, and nothing is wrong; False: something is wrong; `None`: not sure."""
        if self.primary is not None:
            return False
        return True if self.learned else None

    @property
    def primary(self) -> Finding | None:
        """The cause, or `None` where the network is healthy or nothing is sure."""
        return next((finding for finding in self.findings if finding.sure), None)

    @property
    def prescriptions(self) -> tuple[Prescription, ...]:
        """What addresses the cause, best first: `Remedy` values, which can be applied, and sentences."""
        return self.primary.prescriptions if self.primary else ()

    @property
    def series(self) -> Mapping[str, Series]:
        """What was measured, by quantity."""
        return SeriesMapping(self.table)

    @property
    def sick(self) -> bool:
        """Deprecated: `healthy is False`."""
        warnings.warn("Diagnosis.sick is `healthy is False` now", DeprecationWarning, stacklevel=2)
        return self.healthy is False

    @property
    def learns(self) -> bool | None:
        """Deprecated: `learned`."""
        warnings.warn("Diagnosis.learns is called learned now", DeprecationWarning, stacklevel=2)
        return self.learned

    @property
    def reading(self) -> Table:
        """Deprecated: `table`."""
        warnings.warn("Diagnosis.reading is called table now", DeprecationWarning, stacklevel=2)
        return self.table

    def raise_if_failing(self) -> None:
        """Raises `Failing` with the whole diagnosis as its text."""
        if self.healthy is False:
            raise Failing(f"{self.title} is failing\n\n{self}")

    def raise_if_sick(self) -> None:
        """Deprecated: `raise_if_failing`."""
        warnings.warn("Diagnosis.raise_if_sick is called raise_if_failing now", DeprecationWarning, stacklevel=2)
        self.raise_if_failing()

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """What to change for the primary finding: words, and code that runs where `torch`, `uv` (unvanish), `model`,
        `loss_fn` and `optimizer` exist, and `batches` for weights that are drawn by the data.

        No code for what has to be done by hand.
        """
        if self.primary is None:
            return ()
        advice = zip(self.primary.advice, self.primary.prescriptions, strict=True)
        return tuple((text, self._code_of(one)) for text, one in advice)

    def _code_of(self, one: Prescription) -> str:
        if isinstance(one, Fix):
            return one.code
        if isinstance(one, str) or not self.example:
            return ""
        drawn = isinstance(one, InitRemedy) and not self.example.startswith("next(")  # by the data
        return applied(one, "next(iter(batches))[0]" if drawn else self.example)

    def __str__(self) -> str:
        below = layer_table(self.table, self.described)
        above = "\n".join(self.lines()).rstrip()
        return "\n\n".join(part for part in (above, "\n".join(below)) if part)

    def __repr__(self) -> str:
        found = ", ".join(f"{one.code} {one.kind}" for one in self.findings if one.sure and not one.because_of)
        return f"Diagnosis({self.title}: {found or self.last_word()})"

    def lines(self) -> Iterator[str]:
        """What it is; what to change, as code; why we think so; and what else was found."""
        yield from wrapped(self.last_word(), indent="")
        first = self.primary
        if first is not None:
            if self.verdict is not None:
                yield f"{first.code} {first.title} ({first.certainty:.0%} sure)"
            yield from wrapped(sentence(first.message))
            yield ""
            if first.prescriptions:
                yield "What to change" + (": one of these, best first" if len(first.prescriptions) > 1 else "")
                yield from changes(first, self._code_of)
                yield ""
            yield "Why"
            yield from reasons(first, self.table.layers)
            if self.predicted and first.kind in ("vanishing", "exploding"):
                yield from wrapped(self._of_theory())
            if self.steps:
                yield from wrapped(f"seen in {counted(self.steps, 'optimizer step')} on copies")
            yield f"  unvanish rule {first.code}"
        others = [one for one in self.findings if one is not first]
        if others:
            yield ""
        for finding in others:
            yield from finding_lines(finding, self.table.layers)
        if self.ruled_out and self.healthy is None:
            yield from wrapped(f"Ruled out: {'; '.join(self.ruled_out)}.", indent="")
        if self.notes and not others:
            yield ""
        for note in self.notes:
            yield from wrapped(f"Not examined: {note}.", indent="")

    def _of_theory(self) -> str:
        """The prediction beside the measurement, of the first layer that theory knows."""
        layer, last = next(iter(self.predicted)), list(self.predicted)[-1]
        signal = dict(zip(self.table.layers, self.table.row("backward_rms"), strict=True))
        measured = signal.get(layer, math.nan) / (signal.get(last) or math.nan)
        return (
            f"RMS of the gradient at {layer} over that at {last}: {number(measured)} measured, "
            f"{number(self.predicted[layer])} by mean-field theory"
        )

    def last_word(self) -> str:
        """The verdict in a sentence."""
        if self.verdict is not None:
            return self.verdict
        tried = f"{counted(self.steps, 'optimizer step')} on copies"
        if self.primary is not None:
            return f"{self.title} is failing: {self.primary.title} ({self.primary.certainty:.0%} sure)."
        if self.learned:
            return f"{self.title} is healthy: it learned in {tried}."
        if self.learns_at:
            return (
                f"{self.title} is slow, not failing: in {tried} it learned at {number(self.learns_at[0])} times its "
                "learning rate, and not yet as it is."
            )
        if self.learned is False:
            return (
                f"Not sure: {self.title} did not learn in {tried}, but nothing that was measured tells why. "
                "Next: more steps (steps=100), or look at some inputs beside their targets."
            )
        seen = f" in {counted(self.steps, 'step')} on copies" if self.steps else ""
        return f"No clear fault was found in {self.title}; whether it learns was not tested{seen}. Next: uv.check."

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from unvanish.render.html import fragment

        notes = [f"Not examined: {note}." for note in self.notes]
        return fragment(
            self.last_word(),
            self.findings,
            self.table,
            notes,
            failing=self.healthy is False,
            changes=self.changes,
            predicted=self.predicted,
            described=self.described,
        )

    def to_html(self, path: str | Path) -> None:
        """Write a page with the findings, the flow plot and the table; it works offline."""
        from unvanish.core.output import write_output
        from unvanish.render.html import page

        write_output(path, page(f"{self.title}: diagnosis", self._repr_html_()))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; NaN becomes `None`."""
        by_layer = {quantity: self.table.row(quantity) for quantity in self.table.values}
        factors = {
            "forward_factor": self.table.factors("spread"),
            "backward_factor": self.table.factors("backward_norm", backward=True),
        }
        return {
            "title": self.title,
            "healthy": self.healthy,
            "learned": self.learned,
            "steps": self.steps,
            "learns_at": list(self.learns_at),
            "not_examined": list(self.notes),
            "primary": self.primary.code if self.primary else None,
            "findings": [_as_dict(finding) for finding in self.findings],
            "layers": [
                {"layer": layer, "predicted_backward": _finite(self.predicted.get(layer, math.nan))}
                | {name: _finite(values[index]) for name, values in (by_layer | factors).items()}
                for index, layer in enumerate(self.table.layers)
            ],
            "over_calls": {name: list(map(_finite, norms)) for name, norms in self.table.over_calls.items()},
        }


def diagnose(
    examination: Examination,
    *,
    title: str,
    steps: int = 0,
    verdict: str | None = None,
    described: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Ask every check."""
    found = [finding for check in ALL if (finding := check.examine(examination)) is not None]
    lacking = [note for check in ALL if (note := check.not_examined(examination)) is not None]
    return Diagnosis(
        title,
        ordered(found),
        examination.table,
        learned=examination.learned,
        steps=steps,
        learns_at=examination.learns_at,
        notes=(*examination.notes, *lacking),
        verdict=verdict,
        described=described or {},
        example=examination.example,
        ruled_out=ruled_out(examination),
    )


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "kind": finding.kind,
        "title": finding.title,
        "message": finding.message,
        "layers": list(finding.layers),
        "evidence": {name: _finite(value) for name, value in finding.evidence.items()},
        "prescriptions": [
            {"text": text} | _more(one) for text, one in zip(finding.advice, finding.prescriptions, strict=True)
        ],
        "certainty": finding.certainty,
        "because_of": finding.because_of,
    }


def _more(one: Prescription) -> dict[str, Any]:
    if isinstance(one, str):
        return {}
    return {"code": one.code} if isinstance(one, Fix) else {"remedy": one.dump()}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
