"""A Python that starts warm: a program like `python`, whose processes are forked from one that has torch and the
package imported already (tests/forked.py).

What a test starts by `sys.executable` is a process of its own as ever: it has its number, environment, folder and open
files, hears signals, and ends with its exit status. It only begins without the four seconds of a processor that its
imports take, so a test that is about how a process starts must not use it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .forked import Forked

_PROGRAM = """#!{python} -ISB
import json, os, signal, socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.connect({address!r})
wanted = {{
    "words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(),
    "deaf": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
}}
said = json.dumps(wanted).encode()
socket.send_fds(wire, [len(said).to_bytes(4, "big")], [0, 1, 2])
wire.sendall(said)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda number, _: wire.sendall(bytes([number])))
status = int.from_bytes(wire.recv(2, socket.MSG_WAITALL) or b"\\0\\1", "big", signed=True)
if status < 0:
    if status != -signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
_MODULE = "import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
_FILE = (
    "import os, runpy; sys.path[0] = os.path.dirname(os.path.abspath({path!r})); sys.argv[0] = {path!r}; "
    "runpy.run_path({path!r}, run_name='__main__')"
)
_OWN = "import sys; sys.executable = {python!r}; sys.path.insert(0, ''); "


class WarmPython:
    """The program at `path`, for as long as this object is open.

    Args:
        folder: where the program and its socket are; the name must be short, as those of sockets are.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "python"
        self._wire = socket.socket(socket.AF_UNIX)
        self._wire.bind(str(folder / "s"))
        self._wire.listen()
        self.path.write_text(_PROGRAM.format(python=sys.executable, address=str(folder / "s")))
        self.path.chmod(0o755)
        threading.Thread(target=self._accept, name="warm-python", daemon=True).start()

    def close(self) -> None:
        """Start nothing more."""
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)
        self._wire.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._wire.accept()
                threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        """Be the parent of one process: hand signals on, and its exit status back."""
        with wire:
            size, files, _, _ = socket.recv_fds(wire, 4, 3)
            wanted = json.loads(wire.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
            try:
                process = self._started(wanted, *files)
            finally:
                for file in files:
                    os.close(file)
            with process:
                while process.sentinel not in (ready := select.select([wire, process.sentinel], [], [])[0]):
                    signals = wire.recv(16) if wire in ready else b""
                    if not signals:
                        return  # who asked for it was killed, and it with that
                    for number in signals:
                        os.kill(process.pid, number)
                wire.sendall(process.wait(60).to_bytes(2, "big", signed=True))

    def _started(self, wanted: dict[str, Any], inp: int, out: int, err: int) -> Forked:
        words = list(wanted["words"])
        while words[0] in ("-P", "-I", "-u", "-B"):
            words.pop(0)
        kind = words.pop(0)
        code = _OWN.format(python=str(self.path))
        if kind == "-c":
            code += f"exec(compile({words.pop(0)!r}, '<string>', 'exec'), globals())"
        elif kind == "-m":
            code += _MODULE.format(name=words.pop(0))
        else:
            code += _FILE.format(path=kind)
        return Forked(
            code, words, environment=wanted["environment"], folder=Path(wanted["folder"]), log=Path(os.devnull),
            inp=inp, out=out, err=err, deaf=wanted["deaf"],
        )  # fmt: skip


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The path of a Python that starts warm."""
    python = WarmPython(tmp_path_factory.mktemp("w"))
    yield python.path
    python.close()


@pytest.fixture
def starts_warm(warm_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started by `sys.executable` in this test starts warm."""
    monkeypatch.setattr(sys, "executable", str(warm_python))
