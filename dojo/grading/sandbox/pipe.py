"""Sends and receives frames of `dojo.testing.codec` through a pipe, with a deadline and a limit of size.

The other end may be hostile: it may send any bytes, send nothing, or not read.
"""

import math
import os
import select
import time
from typing import Any

from dojo.testing import codec
from dojo.testing.codec_decode import decode

WRITE_BYTES = 65536  # at once
READ_BYTES = 2**20


class Closed(Exception):
    """The other end has closed the pipe."""


class TimedOut(Exception):
    """The deadline passed before the frame was complete."""


def send(pipe: int, tree: Any, deadline: float = math.inf, *, exact: bool = False) -> None:
    """Writes one frame; raises Closed or TimedOut. `deadline` is a time of time.monotonic().

    With `exact`, for the inputs of a case, raises NotExact for what would not arrive as it is.
    """
    view = memoryview(codec.encode_exactly(tree) if exact else codec.encode(tree))
    while view:
        _wait(pipe, select.POLLOUT, deadline)
        try:
            view = view[os.write(pipe, view[:WRITE_BYTES]) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise Closed("closed") from error


def receive(pipe: int, limits: codec.Limits, deadline: float = math.inf) -> Any:
    """Reads one frame and decodes it; raises ProtocolError, Closed or TimedOut."""
    magic, head_bytes, body_bytes = codec.HEADER.unpack(_read(pipe, codec.HEADER.size, deadline))
    if magic != codec.MAGIC:
        raise codec.ProtocolError("does not begin like one")
    if head_bytes > limits.head or body_bytes > limits.body:
        raise codec.ProtocolError(f"would have {head_bytes + body_bytes} bytes, too many")
    return decode(_read(pipe, head_bytes, deadline), _read(pipe, body_bytes, deadline), limits)


def _read(pipe: int, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        _wait(pipe, select.POLLIN, deadline)
        try:
            part = os.read(pipe, min(size - len(data), READ_BYTES))
        except BlockingIOError:
            continue
        except OSError as error:
            raise Closed("closed") from error
        if not part:
            raise Closed("closed")
        data += part
    return bytes(data)


def _wait(pipe: int, event: int, deadline: float) -> None:
    if deadline == math.inf:
        return
    seconds = deadline - time.monotonic()
    poll = select.poll()
    poll.register(pipe, event)
    if seconds <= 0 or not poll.poll(seconds * 1000):
        raise TimedOut("timed out")
