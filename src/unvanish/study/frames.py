"""Messages between the parent and a worker: length first, then one safetensors buffer.

The pipes are unbuffered: a message that waited in a buffer of Python's would be invisible to `select`.
"""

from typing import Protocol


class Pipe(Protocol):
    """The raw end of a pipe, whose `read` and `write` may do less than they were asked for."""

    def read(self, size: int, /) -> bytes | None: ...
    def write(self, content: memoryview, /) -> int | None: ...


LENGTH_BYTES = 8


def send(pipe: Pipe, message: bytes) -> None:
    rest = memoryview(len(message).to_bytes(LENGTH_BYTES, "little") + message)
    while rest:
        rest = rest[pipe.write(rest) or 0 :]


def receive(pipe: Pipe) -> bytes | None:
    """The next message, or `None` at the end of the stream, also where it ends in the middle of one."""
    length = _exactly(pipe, LENGTH_BYTES)
    return None if length is None else _exactly(pipe, int.from_bytes(length, "little"))


def _exactly(pipe: Pipe, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        part = pipe.read(size - len(content))
        if not part:
            return None
        content += part
    return bytes(content)
