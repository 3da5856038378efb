"""What a training hands over while it runs: small enough to send, complete enough to go on from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from unvanish.core.curve import Epoch
from unvanish.core.serialisation import pack, unpack
from unvanish.core.table import Table, joined


@dataclass(frozen=True, eq=False)
class Chunk:
    """The epochs since the last chunk, and the state after them.

    state       "unfinished", "finished", "diverged" or "failed"
    measured    its steps are (stage, epoch)
    checkpoint  where an unfinished training goes on, packed
    weights     of an ended training, packed
    """

    state: str
    rows: tuple[Epoch, ...] = ()
    measured: Table = field(default_factory=Table)
    checkpoint: bytes | None = None
    weights: bytes | None = None
    error: str | None = None

    def pack(self, *, run: int = 0) -> bytes:
        """As a message about the `run`-th of the runs that are trained together."""
        tensors = {
            f"measured/{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in self.measured.values.items()
        }
        for name, buffer in (("checkpoint", self.checkpoint), ("weights", self.weights)):
            if buffer is not None:
                tensors[name] = torch.frombuffer(bytearray(buffer), dtype=torch.uint8)
        meta = {
            "about": "chunk",
            "run": run,
            "state": self.state,
            "error": self.error,
            "rows": [asdict(row) for row in self.rows],
            "layers": self.measured.layers,
            "steps": self.measured.steps,
            "units": self.measured.units,
        }
        return pack(meta, tensors)

    @classmethod
    def unpack(cls, buffer: bytes) -> "Chunk":
        meta, tensors = unpack(buffer)
        values = {
            name.removeprefix("measured/"): tensor.numpy()
            for name, tensor in tensors.items()
            if name.startswith("measured/")
        }
        steps = tuple(tuple(step) for step in meta["steps"])
        return cls(
            state=meta["state"],
            error=meta["error"],
            rows=tuple(Epoch(**row) for row in meta["rows"]),
            measured=Table(tuple(meta["layers"]), steps, values, meta["units"]),
            checkpoint=tensors["checkpoint"].numpy().tobytes() if "checkpoint" in tensors else None,
            weights=tensors["weights"].numpy().tobytes() if "weights" in tensors else None,
        )


def chunk_of(state: str, rows: list[Epoch], tables: list[Table], **rest: Any) -> Chunk:
    return Chunk(state, tuple(rows), joined(tables) if tables else Table(), **rest)


def rows_of_table(table: Table, layers: Sequence[str]) -> list[dict[str, Any]]:
    """What was measured, a row for each step and quantity, by the layers of the run that it belongs to."""
    # a run that version 0.1 began has some of the same layers under other names
    alike = len(layers) == len(table.layers)
    place = range(len(layers)) if alike else [list(layers).index(layer) for layer in table.layers]
    rows = []
    for index, (stage, epoch) in enumerate(table.steps):
        for quantity, values_SL in table.values.items():
            values = np.full(len(layers), np.nan)
            values[place] = values_SL[index]
            if not np.isnan(values).all():
                rows.append({"stage": stage, "epoch": epoch, "quantity": quantity, "values": values})
    return rows
