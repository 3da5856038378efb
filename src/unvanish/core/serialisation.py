"""Tensors and JSON in one safetensors buffer: what checkpoints and messages between processes are made of.

Nothing is ever unpickled: reading such a buffer cannot run code.
"""

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor


def pack(meta: Any, tensors: Mapping[str, Tensor] | None = None) -> bytes:
    """One buffer from JSON-able `meta` and named tensors (copied, so they may share memory)."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in (tensors or {}).items()}
    return save(own, metadata={"json": json.dumps(meta)})


def unpack(buffer: bytes) -> tuple[Any, dict[str, Tensor]]:
    """The inverse of `pack`.

    >>> unpack(pack({"epoch": 3}))
    ({'epoch': 3}, {})
    """
    return meta_of(buffer), load(buffer)


def meta_of(buffer: bytes) -> Any:
    """What `unpack` gives first, without reading the tensors."""
    size = int.from_bytes(buffer[:8], "little")  # the header's length comes first (safetensors' format)
    header = json.loads(buffer[8 : 8 + size])
    return json.loads(header["__metadata__"]["json"])
