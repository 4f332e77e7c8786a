"""Requests that are refused before all of them has come: the client sees why, and the connection goes on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from audiocraft.config.serving import RequestLimits, ServingConfig
from audiocraft.server.security.guards import UPLOAD_PATHS

from ..api.test_streams import serving
from ..fakes import FakeEngine
from .test_threats import connected

LARGE = 2_000_000


@contextmanager
def kept_alive(config: ServingConfig) -> Iterator[http.client.HTTPConnection]:
    """One connection to a server that takes small JSON bodies only."""
    with serving(FakeEngine(), replace(config, request=RequestLimits(json_bytes=1000))) as client:
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
        yield connection
        connection.close()


def answer_to(connection: http.client.HTTPConnection, path: str, **request: Any) -> tuple[int, Any, bool]:
    connection.request("POST", path, **request)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.will_close


def test_every_body_that_is_too_large_is_told_so_on_one_connection(config: ServingConfig) -> None:
    with kept_alive(config) as connection:
        first = None
        for number in range(100):
            body: Any = b"x" * LARGE
            status, problem, closes = answer_to(connection, "/v1/generations", body=body)
            assert (status, problem["code"], closes) == (413, "too_large", False), number
            assert "1000 bytes" in problem["message"]
            first = first or connection.sock
        assert connection.sock is first


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/nothing", "/v1/generations"])
def test_so_are_bodies_that_announce_nothing_and_those_of_wrong_paths(
    config: ServingConfig, path: str
) -> None:
    config = replace(config, upload=replace(config.upload, bytes=1000))
    kind = {"Content-Type": "multipart/form-data; boundary=x"} if path == "/v1/uploads" else {}
    with kept_alive(config) as connection:
        for _ in range(10):
            chunks = (b"x" * 100_000 for _ in range(20))
            status, _, closes = answer_to(connection, path, body=chunks, headers=kind, encode_chunked=True)
            assert status in (400, 404, 413) and not closes


def test_a_stranger_with_a_large_body_reads_that_a_key_is_needed(
    config: ServingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOCRAFT_API_KEY", "k" * 32)
    with kept_alive(replace(config, require_key=True)) as connection:
        for _ in range(10):
            status, _, _ = answer_to(connection, "/v1/uploads", body=b"x" * LARGE)
            assert status == 401


def test_whoever_asks_before_sending_is_not_told_to_send(config: ServingConfig) -> None:
    with serving(FakeEngine(), config) as client, connected(client) as connection:
        lines = ("Host: 127.0.0.1", "Expect: 100-continue", "Content-Length: 90000000", "", "")
        connection.sendall("\r\n".join(("POST /v1/generations HTTP/1.1", *lines)).encode())
        answer = b""
        while found := connection.recv(4096):
            answer += found
        assert answer.startswith(b"HTTP/1.1 413") and b"100 Continue" not in answer
        assert b"connection: close" in answer.lower()


def test_headers_are_few_and_say_where_the_body_ends(config: ServingConfig) -> None:
    both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    many = "".join(f"X-{number}: 1\r\n" for number in range(101))
    long = f"X-Long: {'y' * 40_000}\r\n"
    with serving(FakeEngine(), config) as client:
        for lines, status in ((both, 400), (many, 431), (long, 431)):
            with connected(client) as connection:
                connection.sendall(
                    f"POST /v1/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()
                )
                assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode()), lines[:40]


def test_sizes_are_said_as_people_say_them(config: ServingConfig) -> None:
    with serving(FakeEngine(), config) as client:
        answer = client.post("/v1/uploads", files={"file": ("a.wav", bytes(65 * 2**20))})
        assert answer.status_code == 413 and "64 MB" in answer.json()["message"]


def test_every_route_that_takes_a_file_has_the_limit_of_files(config: ServingConfig) -> None:
    with serving(FakeEngine(), config) as client:
        paths = client.get("/openapi.json").json()["paths"]
        taking = {
            path: schema["$ref"].rpartition("/")[2]
            for path, methods in paths.items()
            for kind, content in methods.get("post", {}).get("requestBody", {}).get("content", {}).items()
            if kind == "multipart/form-data" and (schema := content["schema"])
        }
        assert set(taking) == set(UPLOAD_PATHS)
        for path in taking:
            field = "audio_file" if path == "/analyze" else "file"
            answer = client.post(path, files={field: ("a.wav", bytes(LARGE))})
            assert answer.status_code != 413, path
