"""The server as a process: it drains, it dies, and connections on which nothing comes are closed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from audiocraft.cli.main import main
from audiocraft.client import Client, ServerError
from audiocraft.server import serve
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.serve import HeaderDeadlineProtocol

from .waiting import until

httpx = pytest.importorskip("httpx2")


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`audiocraft serve` with the bundled model, started and ready."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "audiocraft", "serve", "--port", "0", "--data", str(folder)]
    with open(folder / "log", "ab+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        try:
            yield process, _address(process, folder / "log")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it says it is, once it answers."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        found = re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found and _answers(found[-1]):
            return str(found[-1])
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


@pytest.mark.slow
def test_killed_in_the_middle_then_asked_to_stop(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder) as (process, url), Client(url, timeout=300) as client:
        job = client.submit("calm piano", duration=3.0, seed=1)
        while client.get(job).status == "queued":
            time.sleep(0.02)
        process.kill()
    with served(folder) as (process, url), Client(url, timeout=300) as client:
        assert client.wait(job, timeout=300).raw["result"]["samples"] == 72000
        assert [event.kind for event in client.events(job)].count("succeeded") == 1
        long = client.submit("calm piano", duration=60.0)
        while client.get(long).status != "processing":
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        # It still answers while it drains, but takes nothing new; the second signal does not wait for the long piece.
        assert client.get(job).status == "succeeded"
        process.send_signal(signal.SIGTERM)
        process.wait(120)


@pytest.mark.slow
def test_sigterm_refuses_what_is_new_finishes_what_runs_and_ends_with_zero(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder) as (process, url), Client(url, timeout=300, retries=0) as client:
        job = client.submit("calm piano", duration=30.0, seed=1)
        until(lambda: client.get(job).status == "processing")
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
        with pytest.raises(ServerError) as refused:
            client.submit("too late", duration=1.0)
        assert (refused.value.status, refused.value.code) == (503, "shutting_down")
        assert refused.value.retry_after
        assert client.get(job).status in ("processing", "succeeded")  # it still answers
        assert process.wait(120) == 0
    store = JobStore(Database(f"sqlite:///{folder}/audiocraft.db"))
    assert store.get(job.id).status in ("succeeded", "queued")  # what did not end in time is begun anew
    store.database.close()


def test_a_port_in_use_is_one_clear_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", str(tmp_path)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_keys_by_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = ["--data", str(tmp_path)]
    assert main(["serve", "keys", "create", "phone", "--active", "2", *data]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("ack_")
    key = told.err.split()[0]
    assert main(["serve", "keys", "list", *data]) == 0
    listed = capsys.readouterr().out
    assert key in listed and "valid" in listed and told.out.strip() not in listed
    assert main(["serve", "keys", "revoke", key, *data]) == 0
    assert main(["serve", "keys", "revoke", key, *data]) == 1
    assert told.out.strip() not in "".join(
        file.read_bytes().decode("latin-1") for file in tmp_path.iterdir() if file.is_file()
    )


def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_HEADER_SECONDS", 0.3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, http=HeaderDeadlineProtocol, log_config=None, lifespan="off", ws="none")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            with socket.create_connection(listener.getsockname()) as slow:
                slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                slow.settimeout(20)
                assert slow.recv(100) == b""
            with socket.create_connection(listener.getsockname()) as quick:
                quick.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"204" in quick.recv(100)
                time.sleep(0.5)  # a connection that was used stays
                quick.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"204" in quick.recv(100)
                quick.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
                )  # but later headers may not drip either
                quick.settimeout(20)
                assert quick.recv(100) == b""
        finally:
            server.should_exit = True
            thread.join()
