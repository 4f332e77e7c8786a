"""Many clients at once: how quickly the server answers, and what it does when ten times too much comes.

    python benchmarks/server_load.py --clients 50 --seconds 60
    python benchmarks/server_load.py --soak 600                 # does anything grow?

On one server with the bundled model: streams side by side, timed to the first audio; clients that ask for short pieces
and look at them every half second; a flood of ten times as many requests as may wait, each sent as soon as the one
before it on its connection was answered; then requests at ten times the rate at which pieces are made. Times are those
of the client, from the first byte sent to the last one received; it runs on the same machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server_parts.light import Answer, Connection
from server_parts.process import ServerProcess, percentile

QUEUE = 128  # jobs of one owner that may wait
ENDED = ("succeeded", "failed", "canceled")
PROMPT = "calm piano, 90 bpm"


@dataclass
class Measured:
    """This record holds times in seconds, by what was asked, and how often each status came."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)

    def note(self, what: str, answer: Answer) -> Answer:
        self.seconds.setdefault(what, []).append(answer.seconds)
        self.statuses[f"{what} {answer.status}"] += 1
        return answer

    def quantiles(self, what: str) -> dict[str, float | None]:
        found = self.seconds.get(what, [])
        return {
            f"{what}_{name}_ms": percentile(found, share)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        }

    @property
    def unexpected(self) -> int:
        """Return the answers that no server that works gives; 503 is how a queue says that it is full."""
        return sum(count for name, count in self.statuses.items() if name.endswith(("500", "502", "504")))


@dataclass(frozen=True)
class Room:
    """This record says what the processes of the server hold."""

    bytes: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, server: ServerProcess) -> Room:
        return cls(server.resident_bytes(), server.open_files(), server.threads_now())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of each piece")
    parser.add_argument("--soak", type=float, help="only the clients, for so many seconds")
    parser.add_argument("--server", default="", help="further arguments of `audiocraft serve`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audiocraft-load-") as folder:
        server = ServerProcess(Path(folder), *options.server.split())
        server.start()
        try:
            report = asyncio.run(soak(server, options) if options.soak else measure(server, options))
        finally:
            code = server.stop()
    sys.stdout.write(json.dumps({**report, "exit_code": code}) + "\n")
    return 0


async def measure(server: ServerProcess, options: argparse.Namespace) -> dict[str, Any]:
    await streams(server, options)  # the first pieces of a process pay for what is made once
    first = await streams(server, options)
    note(f"first audio of {options.streams} streams: {[round(value, 3) for value in first]}")
    measured, made = await crowd(server, options, options.seconds)
    await empty(server)
    calm = Room.of(server)
    flooded = await flood(server, options)
    full = Room.of(server)
    pressed = await press(server, options, rate=max(10.0, 10 * made / options.seconds))
    most = max(full.bytes, server.resident_bytes())
    await empty(server)
    return {
        "clients": options.clients,
        "seconds": options.seconds,
        "pieces": made,
        "first_audio_p50_ms": percentile(first, 0.5),
        "first_audio_max_ms": percentile(first, 1.0),
        "statuses": dict(measured.statuses),
        "unexpected_5xx": measured.unexpected + flooded.unexpected + pressed.unexpected,
        **measured.quantiles("status"),
        **measured.quantiles("post"),
        "flood": {**flooded.statuses, **flooded.quantiles("refused"), **flooded.quantiles("status")},
        "overload": {**pressed.statuses, **pressed.quantiles("refused"), **pressed.quantiles("status")},
        "memory_megabytes": [round(value / 1e6) for value in (calm.bytes, most)],
        "memory_growth_in_overload": round(most / calm.bytes - 1, 3),
        "threads": full.threads,
        "descriptors": full.descriptors,
    }  # fmt: skip


async def soak(server: ServerProcess, options: argparse.Namespace) -> dict[str, Any]:
    """Send the crowd for a long time -> what the server held and how quickly it answered, tenth by tenth."""
    await crowd(server, options, min(30.0, options.soak / 4))  # warm: caches and pools are filled
    tenths, unexpected, pieces = [], 0, 0
    for _ in range(10):
        measured, made = await crowd(server, options, options.soak / 10, stop=False)
        await asyncio.sleep(1.0)  # until the connections of the clients are closed there too
        room = Room.of(server)
        unexpected, pieces = unexpected + measured.unexpected, pieces + made
        tenths.append(
            {
                "megabytes": round(room.bytes / 1e6, 1),
                "of_server": round(server.resident_bytes(alone=True) / 1e6, 1), "descriptors": room.descriptors,
                "threads": room.threads, **measured.quantiles("status"),
            }
        )  # fmt: skip
        note(json.dumps(tenths[-1]))
    half = [entry["megabytes"] for entry in tenths[5:]]
    growth = round(half[-1] / half[0] - 1, 4)  # type: ignore[operator]
    return {
        "soak": options.soak,
        "pieces": pieces,
        "unexpected_5xx": unexpected,
        "growth_in_last_half": growth,
        "tenths": tenths,
    }


async def streams(server: ServerProcess, options: argparse.Namespace) -> list[float]:
    """Return the seconds from the request to the first audio, with several streams side by side."""

    async def one(seed: int) -> float:
        async with connected(server) as connection:
            started = time.perf_counter()
            body = {"prompt": PROMPT, "duration": 4 * options.duration, "seed": seed}
            job = (await connection.ask("POST", "/v1/generations", body)).json()["id"]
            heard = await connection.first_bytes(f"/v1/generations/{job}/stream?format=pcm")
            return heard - started

    return sorted(await asyncio.gather(*(one(seed) for seed in range(options.streams))))


async def crowd(
    server: ServerProcess, options: argparse.Namespace, seconds: float, *, stop: bool = True
) -> tuple[Measured, int]:
    """Run clients that each ask for a piece, look at it every half second until it is there, and ask for the next.

    Args:
        stop: cancel what is not finished at the end.
    """
    measured, made = Measured(), 0
    deadline = time.monotonic() + seconds

    async def one(number: int) -> None:
        nonlocal made
        choose = random.Random(number)
        await asyncio.sleep(choose.random())
        async with connected(server) as connection:
            while time.monotonic() < deadline:
                body = {"prompt": PROMPT, "duration": options.duration, "seed": choose.randrange(2**31)}
                answer = measured.note("post", await connection.ask("POST", "/v1/generations", body))
                if answer.status != 202:
                    await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
                    continue
                path = f"/v1/generations/{answer.json()['id']}"
                while time.monotonic() < deadline:
                    await asyncio.sleep(0.5)
                    state = measured.note("status", await connection.ask("GET", path)).json()["status"]
                    if state in ENDED:
                        made += state == "succeeded"
                        break
                else:
                    if stop:
                        await connection.ask("POST", f"{path}/cancel")

    await asyncio.gather(*(one(number) for number in range(options.clients)))
    return measured, made


async def flood(server: ServerProcess, options: argparse.Namespace) -> Measured:
    """Send ten times as many requests as may wait, on twenty connections, as fast as they are answered."""
    measured = Measured()
    waiting = deque(range(10 * QUEUE))

    async def one() -> None:
        async with connected(server) as connection:
            while waiting:
                await post(connection, measured, waiting.popleft(), options.duration)

    async with watched(server, measured):
        await asyncio.gather(*(one() for _ in range(20)))
    return measured


async def press(
    server: ServerProcess, options: argparse.Namespace, *, rate: float, seconds: float = 10.0
) -> Measured:
    """Send requests at a steady rate while the queue is full, whether or not the ones before are answered."""
    measured = Measured()
    free: deque[Connection] = deque()

    async def one(number: int) -> None:
        connection = free.popleft() if free else Connection(server.port)
        await post(connection, measured, number, options.duration)
        free.append(connection)

    async with watched(server, measured):
        began, sent = time.monotonic(), []
        for number in range(round(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            sent.append(asyncio.ensure_future(one(10_000 + number)))
        await asyncio.gather(*sent)
    for connection in free:
        connection.close()
    return measured


async def post(connection: Connection, measured: Measured, seed: int, duration: float) -> None:
    answer = await connection.ask(
        "POST", "/v1/generations", {"prompt": PROMPT, "duration": duration, "seed": seed}
    )
    measured.note("accepted" if answer.status == 202 else "refused", answer)


@asynccontextmanager
async def watched(server: ServerProcess, measured: Measured) -> AsyncIterator[None]:
    """Let somebody else look at a piece of theirs meanwhile, ten times a second."""
    async with connected(server) as connection:
        page = (await connection.ask("GET", "/v1/generations?limit=1")).json()
        path = f"/v1/generations/{page['data'][0]['id']}"

        async def look() -> None:
            while True:
                measured.note("status", await connection.ask("GET", path))
                await asyncio.sleep(0.1)

        looking = asyncio.ensure_future(look())
        try:
            yield
        finally:
            looking.cancel()


async def empty(server: ServerProcess) -> None:
    """Cancel what is left, so that the next part begins with an empty queue."""
    async with connected(server) as connection:
        while True:
            states = "status=queued&status=starting&status=processing"
            found = (await connection.ask("GET", f"/v1/generations?{states}&limit=100")).json()["data"]
            if not found:
                return
            for entry in found:
                await connection.ask("POST", f"/v1/generations/{entry['id']}/cancel")


@asynccontextmanager
async def connected(server: ServerProcess) -> AsyncIterator[Connection]:
    connection = Connection(server.port)
    try:
        yield connection
    finally:
        connection.close()


def note(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
