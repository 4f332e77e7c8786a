"""A web server on this machine whose files and faults a test decides."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.checkpoints import download
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.config.decode import encode
from audiocraft.models import debug
from audiocraft.models.builders import get_debug_compression_model


@dataclass
class Web:
    """What the server has, how often it hangs up, and what it was asked.

    Args:
        files: path -> content.
        cut: path -> after how many bytes the next answers end.
        status: path -> an error to answer instead.
        redirect: path -> address.
        length: path -> a Content-Length that is not true.
        tagged: whether contents have an ETag.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    redirect: dict[str, str] = field(default_factory=dict)
    length: dict[str, int] = field(default_factory=dict)
    tagged: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    repos: dict[str, list[str]] = field(default_factory=dict)

    def add_repo(self, name: str, files: dict[str, bytes]) -> None:
        """A model of the hub, with its listing."""
        self.repos[name] = list(files)
        commit = hashlib.sha1(name.encode()).hexdigest()
        listing = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
        for path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
            self.files[path] = json.dumps(listing).encode()
        for file, content in files.items():
            for revision in ("main", commit):
                self.files[f"/{name}/resolve/{revision}/{file}"] = content

    def answer(self, path: str, asked: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a request with the headers `asked`."""
        if path in self.redirect:
            return 302, b"", {"Location": self.redirect[path], "Content-Length": "0"}
        code = self.status.get(path, 200 if path in self.files else 404)
        content = self.files.get(path, b"") if code == 200 else b""
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        start, wanted = 0, asked.get("Range")
        if code == 200 and wanted and asked.get("If-Range", headers["ETag"]) == headers["ETag"]:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            code = 206 if start < len(content) else 416
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if code == 404 and path.startswith("/api/models/"):
            headers["X-Error-Code"] = "RepoNotFound"
        if "/resolve/" in path:
            headers["X-Repo-Commit"] = hashlib.sha1("/".join(path.split("/")[1:3]).encode()).hexdigest()
        part = content[start:] if code in (200, 206) else b""
        if not self.tagged:
            del headers["ETag"]
        return code, part, {**headers, "Content-Length": str(self.length.get(path, len(part)))}


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            web.asked.append((self.command, path, self.headers.get("Range")))
            code, part, headers = web.answer(path, self.headers)
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            if web.cut.get(path):
                part = part[: web.cut[path].pop(0)]
                self.close_connection = True
            self.wfile.write(part)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    """A running server; downloads are allowed, waits between attempts are not."""
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    made = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def codec() -> Checkpoint:
    """A tiny codec as a checkpoint."""
    tensors = {name: value.clone() for name, value in get_debug_compression_model().state_dict().items()}
    return Checkpoint(
        kind="compression", config=encode(debug.codec_config()), tensors=tensors, source=Path("debug")
    )


@pytest.fixture(scope="session")
def release(codec: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny codec as a released file."""
    from audiocraft.checkpoints.write import write_release

    with torch.no_grad():
        return write_release(tmp_path_factory.mktemp("release"), codec)
