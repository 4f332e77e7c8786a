"""Runs the application until it is asked to stop, and then lets running jobs finish first."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from audiocraft.config.serving import ServingConfig
from audiocraft.errors import ConfigError
from audiocraft.server.services import Services

_log = logging.getLogger(__name__)

_HEADER_SECONDS = 20.0
_KEEP_ALIVE_SECONDS = 20
_CLOSE_SECONDS = 5
_SWITCH_SECONDS = 0.0005
_MAX_CONNECTIONS = 1000
_HEADER_BYTES = 32 * 2**10


class HeaderDeadlineProtocol(H11Protocol):
    """This protocol is HTTP that closes a connection whose headers do not arrive in time, of its first request or of a
    later one, so that no client can hold all connections."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first headers."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop the time when headers are complete, and start it when those of another request begin."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._stop_waiting()
        elif self._waiting is None and self.conn.their_state is h11.IDLE:
            # The beginning of another request has ended the time for keeping the connection.
            self._wait_for_head()

    def on_response_complete(self) -> None:
        """Close a connection whose request is answered and still sends: the time for its body is over."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._close()

    def _wait_for_head(self) -> None:
        self._waiting = self.loop.call_later(_HEADER_SECONDS, self._close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """This server accepts nothing new after the first signal, answers until running jobs have finished, and then ends.
    After a second signal it ends at once."""

    def __init__(self, config: uvicorn.Config, services: Services, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.services = services
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        freeze_startup_objects()
        if self.started:
            self._ready()

    def end(self) -> None:
        """End in order; from any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        if self.services.draining:
            self.should_exit = self.force_exit = True
            return
        self.services.draining = True
        _log.info("%s: finishing what runs", signal.Signals(sig).name)
        threading.Thread(target=self._drain, name="audiocraft-drain", daemon=True).start()

    def _drain(self) -> None:
        if self.services.runner is not None:
            self.services.runner.stop()
        self.should_exit = True


def freeze_startup_objects() -> None:
    """Exclude from garbage collection what a started process keeps for its whole life: to search it takes a fifth of a
    second each time."""
    gc.collect()
    gc.freeze()


@contextmanager
def listening(config: ServingConfig) -> Iterator[tuple[socket.socket, ServingConfig]]:
    """Take the socket that the server listens on, before anything is loaded -> it, and the settings with its port.
    Raises ConfigError where the address cannot be taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {config.host} port {config.port}: {error.strerror}; choose another with --port"
            ) from error
        listener.listen()  # whoever comes early is answered as soon as there is an answer, and not turned away
        yield listener, replace(config, port=listener.getsockname()[1])


def serve(
    app: FastAPI,
    config: ServingConfig,
    listener: socket.socket,
    *,
    ready: Callable[[], object] = bool,
    began: Callable[[], object] = bool,
) -> None:
    """Serve `app` until a signal comes. Raises ConfigError where it cannot start.

    Args:
        ready: called when the server answers.
        began: called when its worker has loaded its models, where the application did not wait for that.
    """
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=HeaderDeadlineProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        ws_max_size=config.request.json_bytes,
        proxy_headers=bool(config.trust_proxy),
        forwarded_allow_ips=list(config.trust_proxy) or None,
    )
    # The model's thread runs many short operations. With Python's usual 5 ms between turns each answer would wait
    # several times for it; the model itself hardly notices.
    sys.setswitchinterval(_SWITCH_SECONDS)
    services: Services = app.state.services
    server = DrainingServer(settings, services, ready)
    services.began, services.end = began, server.end
    try:
        server.run(sockets=[listener])
    except SystemExit:
        # This is how uvicorn answers an application that cannot start; our caller is told by an error.
        if server.started:
            raise
    if not server.started or services.failure is not None:
        raise ConfigError(server.services.failure or "the server could not start; the log says why")
