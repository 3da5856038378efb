"""Messages between the parent and a worker: length first, then one safetensors buffer."""

from typing import BinaryIO

LENGTH_BYTES = 8


def send(pipe: BinaryIO, message: bytes) -> None:
    pipe.write(len(message).to_bytes(LENGTH_BYTES, "little"))
    pipe.write(message)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes | None:
    """The next message, or `None` at the end of the stream, also where it ends in the middle of one."""
    length = _exactly(pipe, LENGTH_BYTES)
    return None if length is None else _exactly(pipe, int.from_bytes(length, "little"))


def _exactly(pipe: BinaryIO, size: int) -> bytes | None:
    content = pipe.read(size)
    return content if len(content) == size else None
