"""What grader and worker send each other: a JSON head and raw bytes. Never pickle: the sender may be hostile.

Floats travel in hexadecimal, tensors as offsets into the bytes. `decode` bounds depth, counts, names and sizes before it
allocates, and raises ProtocolError for anything that `encode` would not have written.
"""

import math
import os
import select
import time
from typing import Any

from dojo.testing.codec import HEADER, MAGIC, Limits, ProtocolError, decode, encode


class Silence(Exception):
    """Nothing more arrives: the other end has closed, or the time is up (`late`)."""

    def __init__(self, late: bool) -> None:
        super().__init__("late" if late else "closed")
        self.late = late


def send(pipe: int, tree: Any, deadline: float = math.inf) -> None:
    """Writes one frame; raises Silence when nobody reads. `deadline` is on time.monotonic()'s clock."""
    view = memoryview(encode(tree))
    while view:
        _await(pipe, deadline, write=True)
        try:
            view = view[os.write(pipe, view[:65536]) :]
        except BlockingIOError:
            continue
        except (BrokenPipeError, OSError) as error:
            raise Silence(late=False) from error


def receive(pipe: int, limits: Limits, deadline: float = math.inf) -> Any:
    """Reads one frame; raises ProtocolError, or Silence when the other end closed or the time is up."""
    magic, head, body = HEADER.unpack(_read(pipe, HEADER.size, deadline))
    if magic != MAGIC:
        raise ProtocolError("does not begin like one")
    if head > limits.head or body > limits.body:
        raise ProtocolError(f"would have {head + body} bytes, too many")
    return decode(_read(pipe, head, deadline), _read(pipe, body, deadline), limits)


def _read(pipe: int, size: int, deadline: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        _await(pipe, deadline)
        try:
            part = os.read(pipe, min(size - len(found), 2**20))
        except BlockingIOError:
            continue
        except OSError as error:
            raise Silence(late=False) from error
        if not part:
            raise Silence(late=False)
        found += part
    return bytes(found)


def _await(pipe: int, deadline: float, write: bool = False) -> None:
    if deadline == math.inf:
        return
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(pipe, select.POLLOUT if write else select.POLLIN)
    if left <= 0 or not poll.poll(left * 1000):
        raise Silence(late=True)
