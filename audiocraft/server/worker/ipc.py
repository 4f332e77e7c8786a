"""Messages between two processes of ours: JSON objects, with tensors beside them where there are any."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_HEAD = struct.Struct("<II")  # bytes of the JSON, bytes of all tensors
_DTYPES = {"float32": torch.float32, "int64": torch.int64}

Message = dict[str, Any]


class Wire:
    """One end of a connected pair of sockets. Any thread may send; one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any], *tensors: Tensor) -> None:
        """Send a message; raises OSError where the other end is gone."""
        arrays = [tensor.detach().cpu().contiguous().numpy() for tensor in tensors]
        facts = [[array.dtype.name, list(array.shape)] for array in arrays]
        body = json.dumps({**message, "tensors": facts} if facts else dict(message)).encode()
        parts = [
            _HEAD.pack(len(body), sum(array.nbytes for array in arrays)),
            body,
            *(array.tobytes() for array in arrays),
        ]
        with self._sending:
            self._connection.sendall(b"".join(parts))

    def receive(self) -> tuple[Message, list[Tensor]] | None:
        """The next message, or None when the other end is gone."""
        head = self._read(_HEAD.size)
        if head is None:
            return None
        size, more = _HEAD.unpack(head)
        body = self._read(size)
        content = self._read(more)
        if body is None or content is None:
            return None
        message: Message = json.loads(body)
        return message, _tensors(message.pop("tensors", []), content)

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


def _tensors(facts: list[tuple[str, list[int]]], content: bytearray) -> list[Tensor]:
    found, start = [], 0
    for name, shape in facts:
        stop = start + math.prod(shape) * _DTYPES[name].itemsize
        found.append(
            torch.from_numpy(np.frombuffer(content[start:stop], dtype=name).reshape(shape))
            if stop > start
            else torch.zeros(shape, dtype=_DTYPES[name])
        )
        start = stop
    return found
