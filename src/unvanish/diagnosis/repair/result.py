"""What a repair gives: its outcome, the change with its proof, and what was tried."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from unvanish.core.setup import Loss
from unvanish.core.statistics import CONFIDENCE
from unvanish.core.table import Table
from unvanish.core.values import counted
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.repair.change import Change
from unvanish.diagnosis.repair.proof import Proof
from unvanish.diagnosis.repair.selection import Tried
from unvanish.render.text import number, sentence, text_table, wrapped

RepairOutcome = Literal["healthy", "repaired", "not proven", "cannot help"]


@dataclass(frozen=True, eq=False)
class Best:
    """The change that is proven, made.

    model    untrained: the given weights with the change made
    loss_fn  to be used with it: the given one, unless the change is in the loss
    table    what was measured of it on one batch, before any step
    code     what makes it, as Python, where `torch`, `uv`, `model`, `loss_fn`, `optimizer` and `batches` exist
    """

    change: Change
    model: nn.Module
    loss_fn: Loss
    code: str
    table: Table = field(repr=False)
    _optimizer: torch.optim.Optimizer = field(repr=False)

    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimizer over `model`."""
        kept = {id(parameter): parameter for parameter in self.model.parameters()}
        made = copy.deepcopy(self._optimizer, dict(kept))
        hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")  # deepcopy leaves them out
        for name in hooks:
            setattr(made, name, copy.copy(getattr(self._optimizer, name)))
        return made


@dataclass(frozen=True, eq=False)
class Repair:
    """What came of a repair; print it.

    outcome    'healthy': nothing to repair; 'repaired': `best` is proven; 'not proven': nothing is; 'cannot help': no
               change of the setup mends it, and `diagnosis` has the line to change
    diagnosis  of the network as it was given
    best       `None` unless repaired
    proof      of the change that was selected, where there was one
    tried      what was tried, with its scores, and why it was dropped
    metric     what the scores are: accuracy, R², 2 AUC − 1 or −loss
    steps      of each training at full length
    said       the price, and whatever else there was to say, in sentences
    interrupted  by Ctrl-C, or by the clock
    """

    outcome: RepairOutcome
    diagnosis: Diagnosis
    best: Best | None = None
    proof: Proof | None = None
    selected: Change | None = None
    tried: tuple[Tried, ...] = ()
    metric: str = ""
    steps: int = 0
    samples: tuple[int, int, int] = (0, 0, 0)
    seconds: float = 0.0
    said: tuple[str, ...] = ()
    interrupted: bool = False

    def __repr__(self) -> str:
        change = f", {self.best.change}" if self.best else ""
        return f"Repair({self.diagnosis.title}: {self.outcome}{change})"

    def __str__(self) -> str:
        return "\n".join(self.lines()).rstrip()

    def lines(self) -> Iterator[str]:
        """The verdict; what was wrong; the change as code; its proof; what was tried."""
        yield from wrapped(self.last_word(), indent="")
        yield ""
        yield "What was wrong"
        yield from wrapped(self.diagnosis.last_word())
        if self.diagnosis.primary is not None:
            yield from wrapped(f"{sentence(self.diagnosis.primary.message)} ({self.diagnosis.primary.code})")
        if self.best is not None:
            yield ""
            yield "What to change"
            yield from wrapped(f"{self.best.change}:")
            yield from (f"    {line}" for line in self.best.code.splitlines())
        elif self.outcome == "cannot help":
            yield ""
            yield "What to change, by hand"
            for text, code in self.diagnosis.changes:
                yield from wrapped(f"{text}{':' if code else '.'}")
                yield from (f"    {line}" for line in code.splitlines())
        if self.proof is not None:
            yield ""
            yield "Proof"
            yield from wrapped(f"{self.of_proof()[:1].upper()}{self.of_proof()[1:]}")
        if self.tried:
            yield ""
            yield from wrapped(
                f"What was tried: {self.metric} on {self.samples[1]} samples held out for the selection. Signal: the "
                "smallest share of the gradient that reaches a layer, before the first step.",
                indent="",
            )
            yield from text_table(*self._table())
            dropped = [one for one in self.tried if one.dropped and not one.scores]
            if dropped:
                yield ""
                yield "Not tried"
            for one in dropped:
                yield from wrapped(f"{one.change}: {one.dropped}.")
        if self.said:
            yield ""
        for one in self.said:
            yield from wrapped(f"{one}.", indent="")

    def last_word(self) -> str:
        """The verdict in a sentence."""
        title = self.diagnosis.title
        if self.outcome == "healthy":
            return f"{title} is healthy: nothing was changed."
        if self.outcome == "cannot help":
            return (
                f"{title} cannot be repaired by a change of its setup: the cause is in the loop, the data or the code."
            )
        if self.best is not None:
            return f"{title} is repaired: {self.best.change}."
        reason = "nothing that was tried did better than the network as it is"
        if self.interrupted:
            reason = "it was ended early"
        elif self.selected:
            reason = f"{self.selected} was best, and its improvement could be chance"
        elif not self.tried:
            reason = "nothing was tried"
        return f"{title}: not proven, so nothing was changed ({reason})."

    def of_proof(self) -> str:
        """The proof in a sentence or two."""
        proof = self.proof
        if proof is None or not proof.before:
            return "There is none."
        low, high = proof.interval
        before, after = (sum(values) / len(values) for values in (proof.before, proof.after))
        seeds = counted(len(proof.before), "seed")
        return (
            f"{self.metric} {number(before)} → {number(after)}: {number(proof.mean)} better, "
            f"{CONFIDENCE:.0%} interval {number(low)} to {number(high)} (paired t, {seeds} "
            f"of {self.steps} steps, on {self.samples[2]} samples that the selection did not use)."
        )

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Of what was trained: how far the backward signal reaches, and the score after so many steps."""
        at = sorted({steps for one in self.tried for steps in one.scores})
        trained = [one for one in self.tried if one.scores]
        shown = sorted(trained, key=lambda one: (one.role != "untreated", -len(one.scores), -one.score))
        rows = []
        for one in shown:
            beside = one.role not in ("candidate", "untreated", str(one.change))
            name = f"{one.change}" + (f" ({one.role})" if beside else "")
            scores = [number(one.scores[steps]) if steps in one.scores else "·" for steps in at]
            rows.append([name, number(one.signal), *scores])
        return ["change", "signal", *(f"step {steps}" for steps in at)], rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; what is not finite becomes `None`."""
        proof = self.proof
        return {
            "title": self.diagnosis.title,
            "outcome": self.outcome,
            "change": str(self.best.change) if self.best else None,
            "code": self.best.code if self.best else None,
            "metric": self.metric,
            "steps": self.steps,
            "seconds": self.seconds,
            "proof": None
            if proof is None
            else {
                "before": list(map(_finite, proof.before)),
                "after": list(map(_finite, proof.after)),
                "mean": _finite(proof.mean),
                "interval": list(map(_finite, proof.interval)),
                "confidence": CONFIDENCE,
            },
            "tried": [
                {
                    "change": str(one.change),
                    "role": one.role,
                    "signal": _finite(one.signal),
                    "scores": {str(steps): _finite(score) for steps, score in one.scores.items()},
                    "dropped": one.dropped or None,
                }
                for one in self.tried
            ],
            "said": list(self.said),
            "diagnosis": self.diagnosis.to_dict(),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from unvanish.render.html import repair_fragment

        header, rows = self._table()
        return repair_fragment(
            self.last_word(),
            repaired=self.outcome in ("healthy", "repaired"),
            proof=self.of_proof() if self.proof else "",
            code=self.best.code if self.best else "",
            by_hand=self.diagnosis.changes if self.outcome == "cannot help" else (),
            header=header,
            rows=rows,
            curves={str(one.change): one.scores for one in self.tried if len(one.scores) > 1},
            metric=self.metric,
            dropped=[f"{one.change}: {one.dropped}" for one in self.tried if one.dropped and not one.scores],
            said=self.said,
            after=self.best.table if self.best else None,
            diagnosis=self.diagnosis._repr_html_(),
        )

    def to_html(self, path: str | Path) -> None:
        """Write a page with the change, its proof, what was tried, and the diagnosis; it works offline."""
        from unvanish.core.output import write_output
        from unvanish.render.html import page

        write_output(path, page(f"{self.diagnosis.title}: repair", self._repr_html_()))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
