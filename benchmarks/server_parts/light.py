"""A client that costs little: it shares the machine with the server that it measures."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """This record says what came back, and when: `seconds` from the first byte sent to the last byte received."""

    status: int
    headers: dict[str, str]
    content: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.content)


class Connection:
    """This object is one connection that is kept; HTTP/1.1 with nothing that the server does not use."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Send one request and return its whole answer."""
        used = self._streams is not None
        try:
            return await self._ask(method, path, body)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            if method != "GET" or not used:  # a server may close a connection that was idle for long
                raise
            return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        head, content = _request(method, path, body)
        reader, writer = await self._open()
        started = time.perf_counter()
        writer.write(head + content)
        status, headers = await _head(reader)
        answer = b"".join([part async for part in _body(reader, headers)])
        took = time.perf_counter() - started
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, answer, took)

    async def first_bytes(self, path: str) -> float:
        """Read a stream to its end -> when its first bytes came, by `time.perf_counter`."""
        reader, writer = await self._open()
        writer.write(_request("GET", path, None)[0])
        status, headers = await _head(reader)
        if status != 200:
            raise RuntimeError(f"{path} was answered with {status}")
        found = 0.0
        async for part in _body(reader, headers):
            if part and not found:
                found = time.perf_counter()
        return found

    def close(self) -> None:
        """Leave; the next request connects again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams


def _request(method: str, path: str, body: dict[str, Any] | None) -> tuple[bytes, bytes]:
    content = json.dumps(body).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body is not None or method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), content


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(lines[0].split(" ", 2)[1]), headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> Any:
    if "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
