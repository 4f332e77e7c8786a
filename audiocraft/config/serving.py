"""The settings of the server. Every limit that a stranger can run into has its value here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from audiocraft.errors import ConfigError

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

_MAY_BE_ZERO = frozenset(
    {
        "port",
        "workers",
        "worker_nice",
        "lease.drain_seconds",
        "queue.min_free_bytes",
        "queue.idempotency_seconds",
        "queue.kept_seconds",
        "webhook.first_delay",
    }
)
"""Settings for which nothing is something."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def default_data_dir() -> str:
    """Return where jobs and audio are kept unless said otherwise: AUDIOCRAFT_DATA_DIR, or the user's data folder."""
    named = os.getenv("AUDIOCRAFT_DATA_DIR")
    if named:
        return named
    return str(Path(os.getenv("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "audiocraft")


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadLimits:
    """This record says what a file sent to the server may be, before and after decoding."""

    bytes: int = 64 * 2**20  # five minutes of stereo WAV at 48 kHz
    seconds: float = 600.0
    decoded_bytes: int = 256 * 2**20
    channels: int = 2
    min_sample_rate: int = 8_000
    max_sample_rate: int = 192_000
    decode_seconds: float = 20.0  # processor time of the child that decodes
    kept_seconds: float = 24 * 3600.0
    kept_files: int = 64  # per owner


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLimits:
    """This record says what one request may ask for."""

    json_bytes: int = 2**20
    body_seconds: float = 60.0  # for a body to arrive
    duration: float = 300.0  # seconds of audio
    wait_seconds: float = 60.0  # the longest `Prefer: wait`
    generate_seconds: float = 600.0  # how long a synchronous alias waits for its audio
    codec_seconds: float = 120.0  # seconds of audio for encode and decode


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimits:
    """This record says how many jobs wait, for all and for one owner; a refusal says when to try again."""

    queued: int = 512
    queued_per_owner: int = 128
    idempotency_seconds: float = 24 * 3600.0
    kept_seconds: float = 7 * 24 * 3600.0  # finished jobs and their audio
    min_free_bytes: int = 64 * 2**20  # below this a job is refused with 507


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseSettings:
    """This record says how a worker holds a job."""

    seconds: float = 15.0
    heartbeat: float = 3.0
    attempts: int = 3
    poll: float = 0.2  # how soon work and cancels of other processes are seen
    rows: int = 16  # jobs that one worker runs at a time
    drain_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSettings:
    """This record says how results are reported to other servers."""

    enabled: bool = True
    allow_private: bool = False  # http and private addresses: for tests and closed networks only
    seconds: float = 10.0
    attempts: int = 6
    first_delay: float = 5.0  # doubled up to four times each attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingConfig:
    """This record says everything about one server.

    Args:
        database: an SQLAlchemy URL; None is SQLite inside `data_dir`.
        models: names that requests may use; () allows the bundled ones and those already on this machine.
        sound_model: None is the first model for sounds on this machine, else the one for music.
        preload: models loaded before the server is ready.
        workers: of this server; 0 leaves the jobs to `audiocraft worker`.
        in_process: the worker is threads of the server; otherwise it is a process of its own, so that models that
            compute keep no answer waiting.
        worker_nice: by how much the priority of that process is lowered, on a CPU.
        require_key: None asks for a key wherever the server is reachable from other machines.
        hosts: further names this server is called by; others are refused, against DNS rebinding.
        cors_origins: web pages of other origins that may use the API; none by default.
        trust_proxy: believe X-Forwarded-* headers of these addresses.
        log_prompts: write prompts into the audit log.
        adapters: folders of low-rank adapters that requests may name.
        runs_dir: a folder of training runs that `/runs` shows; None shows none.
        watermark: mark all audio that leaves the server inaudibly as made by a machine.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    data_dir: str = field(default_factory=default_data_dir)
    database: str | None = None
    music_model: str = "nano"
    sound_model: str | None = None
    codec_model: str = "nano"
    models: tuple[str, ...] = ()
    preload: tuple[str, ...] = ("nano",)
    device: str = "cpu"
    max_model_bytes: int | None = None
    workers: int = 1
    in_process: bool = False
    worker_nice: int = 5
    require_key: bool | None = None
    hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trust_proxy: tuple[str, ...] = ()
    log_prompts: bool = False
    adapters: tuple[str, ...] = ()
    runs_dir: str | None = None
    watermark: bool = True
    allow_model_changes: bool = True  # load and unload over HTTP, for keys with the scope `admin`
    docs: bool = True
    upload: UploadLimits = UploadLimits()
    request: RequestLimits = RequestLimits()
    queue: QueueLimits = QueueLimits()
    lease: LeaseSettings = LeaseSettings()
    webhook: WebhookSettings = WebhookSettings()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ServingConfig:
        """Return the settings that containers give: AUDIOCRAFT_HOST, _PORT, _DATA_DIR, _DATABASE, _MODEL, _MODELS,
        _PRELOAD, _DEVICE, _WORKERS, _IN_PROCESS, _HOSTS, _CORS_ORIGINS, _TRUST_PROXY, _REQUIRE_KEY, _ADAPTERS,
        _RUNS, _WATERMARK; lists are separated by commas."""
        settings: dict[str, Any] = {}
        for name, (target, kind) in _VARIABLES.items():
            text = environment.get(f"AUDIOCRAFT_{name}")
            if not text:
                continue
            try:
                settings[target] = kind(text)
            except ValueError as error:
                raise ConfigError(f"AUDIOCRAFT_{name} cannot be {text!r}") from error
        return cls(**settings)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be between 0 and 65535, got {self.port}")
        if self.workers not in (0, 1):
            raise ConfigError(
                f"a server holds 0 or 1 worker, got {self.workers}; run `audiocraft worker` for more"
            )
        for name, value in _numbers(self):
            if not math.isfinite(value) or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
                least = "0 or more" if name in _MAY_BE_ZERO else "more than 0"
                raise ConfigError(f"{name} must be {least}, got {value:g}")
        if self.lease.heartbeat * 2 > self.lease.seconds:
            raise ConfigError("a lease must last at least two heartbeats")

    @property
    def keys_required(self) -> bool:
        """Return whether a request without an API key is refused."""
        return self.require_key if self.require_key is not None else self.host not in LOOPBACK

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{Path(self.data_dir).resolve() / 'audiocraft.db'}"

    @property
    def url(self) -> str:
        """Return where a browser on this machine finds the server."""
        host = self.host if self.host not in ("0.0.0.0", "::") else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def blob_dir(self) -> Path:
        return Path(self.data_dir).resolve() / "files"


def _numbers(record: object, of: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a record and of those in it, by name."""
    for entry in fields(record):  # type: ignore[arg-type]
        value, name = getattr(record, entry.name), of + entry.name
        if is_dataclass(value):
            yield from _numbers(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _truth(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text.lower() in _TRUE


_VARIABLES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "HOST": ("host", str),
    "PORT": ("port", int),
    "DATA_DIR": ("data_dir", str),
    "DATABASE": ("database", str),
    "MODEL": ("music_model", str),
    "MODELS": ("models", _words),
    "PRELOAD": ("preload", _words),
    "DEVICE": ("device", str),
    "WORKERS": ("workers", int),
    "IN_PROCESS": ("in_process", _truth),
    "HOSTS": ("hosts", _words),
    "CORS_ORIGINS": ("cors_origins", _words),
    "TRUST_PROXY": ("trust_proxy", _words),
    "REQUIRE_KEY": ("require_key", _truth),
    "ADAPTERS": ("adapters", _words),
    "RUNS": ("runs_dir", str),
    "WATERMARK": ("watermark", _truth),
}
