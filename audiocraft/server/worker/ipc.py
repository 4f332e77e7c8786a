"""Messages between two processes of ours: JSON objects, with arrays beside them where there are any."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_HEAD = struct.Struct("<II")  # bytes of the JSON, bytes of all arrays
_DTYPES = ("float32", "int64", "uint8")

Message = dict[str, Any]
Array = npt.NDArray[Any]


class MessageSocket:
    """This object is one end of a connected pair of sockets. Any thread may send; one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any], *arrays: Array) -> None:
        """Send a message with arrays of float32, int64 or uint8; raises OSError where the other end is gone."""
        facts = [[array.dtype.name, list(array.shape)] for array in arrays]
        body = json.dumps({**message, "arrays": facts} if facts else dict(message)).encode()
        parts = [
            _HEAD.pack(len(body), sum(array.nbytes for array in arrays)),
            body,
            *(array.tobytes() for array in arrays),
        ]
        with self._sending:
            self._connection.sendall(b"".join(parts))

    def receive(self) -> tuple[Message, list[Array]] | None:
        """Return the next message with its arrays, or None when the other end is gone."""
        head = self._read(_HEAD.size)
        if head is None:
            return None
        size, more = _HEAD.unpack(head)
        body = self._read(size)
        content = self._read(more)
        if body is None or content is None:
            return None
        message: Message = json.loads(body)
        return message, _arrays(message.pop("arrays", []), content)

    def close(self) -> None:
        """Let the other end see that this one is gone."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._connection.close()

    def _read(self, size: int) -> bytearray | None:
        content = bytearray(size)
        view, done = memoryview(content), 0
        while done < size:
            try:
                got = self._connection.recv_into(view[done:])
            except OSError:
                return None
            if not got:
                return None
            done += got
        return content


def _arrays(facts: list[tuple[str, list[int]]], content: bytearray) -> list[Array]:
    """Return the arrays that lie one after the other in `content`."""
    found, start = [], 0
    for name, shape in facts:
        if name not in _DTYPES:
            raise ValueError(f"arrays of {name} are not sent")
        dtype = np.dtype(name)
        stop = start + math.prod(shape) * dtype.itemsize
        found.append(np.frombuffer(content[start:stop], dtype=dtype).reshape(shape))
        start = stop
    return found
