"""What a training hands over while it runs: small enough to send, complete enough to go on from."""

from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from unvanish.core.packing import pack, unpack
from unvanish.core.record import Epoch


@dataclass(frozen=True)
class Chunk:
    """The epochs since the last chunk, and the state after them.

    state       "unfinished", "finished", "diverged" or "failed"
    flow        (stage, epoch) → probes × layers
    checkpoint  where an unfinished training goes on, packed
    weights     of an ended training, packed
    """

    state: str
    rows: tuple[Epoch, ...] = ()
    flow: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    checkpoint: bytes | None = None
    weights: bytes | None = None
    error: str | None = None

    def pack(self, *, run: int = 0) -> bytes:
        """As a message about the `run`-th of the runs that are trained together."""
        tensors = {f"flow/{stage}/{epoch}": torch.from_numpy(values) for (stage, epoch), values in self.flow.items()}
        for name, buffer in (("checkpoint", self.checkpoint), ("weights", self.weights)):
            if buffer is not None:
                tensors[name] = torch.frombuffer(bytearray(buffer), dtype=torch.uint8)
        rows = [asdict(row) for row in self.rows]
        meta = {"about": "chunk", "run": run, "state": self.state, "error": self.error, "rows": rows}
        return pack(meta, tensors)

    @classmethod
    def unpack(cls, buffer: bytes) -> "Chunk":
        meta, tensors = unpack(buffer)
        flow = {}
        for name, tensor in tensors.items():
            if name.startswith("flow/"):
                _, stage, epoch = name.split("/")
                flow[int(stage), int(epoch)] = tensor.numpy()
        return cls(
            state=meta["state"],
            error=meta["error"],
            rows=tuple(Epoch(**row) for row in meta["rows"]),
            flow=flow,
            checkpoint=tensors["checkpoint"].numpy().tobytes() if "checkpoint" in tensors else None,
            weights=tensors["weights"].numpy().tobytes() if "weights" in tensors else None,
        )
