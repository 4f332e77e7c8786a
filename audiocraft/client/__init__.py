"""A client of the server: `Client("http://127.0.0.1:8000").generate("calm piano")`. Needs no torch.

with Client() as client:
    piece = client.generate("rainy piano, 80 bpm", duration=10)
    client.download(piece, "piano.flac")
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from audiocraft.client.records import (
    FINISHED,
    Generation,
    GenerationOptions,
    JobEvent,
    Kind,
    ServerAway,
    ServerError,
    Status,
    generation_of,
    id_of,
)
from audiocraft.client.studio import StudioCalls
from audiocraft.errors import InvalidInput, require
from audiocraft.utils import http_retry
from audiocraft.utils.files import atomic_path

__all__ = [
    "Client",
    "Generation",
    "GenerationOptions",
    "JobEvent",
    "Kind",
    "ServerAway",
    "ServerError",
    "Status",
]

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE, KEY_VARIABLE = "AUDIOCRAFT_URL", "AUDIOCRAFT_API_KEY"

_SUFFIXES = {**{f".{name}": name for name in "wav flac mp3 opus pcm acx".split()}, ".ogg": "opus"}
_MIDI = (".mid", ".midi")
_WAIT_SECONDS = 30
# Formats whose bytes are the same each time, so that a stream that broke can go on in the middle.
_EXACT = ("wav", "pcm", "f32")


class Client(StudioCalls):
    """A client speaks with one server. Safe to use from many threads.

    Args:
        url: by default $AUDIOCRAFT_URL, else this machine.
        key: by default $AUDIOCRAFT_API_KEY.
        timeout: seconds to wait for the beginning of an answer.
        retries: how often a request that may be repeated is, when the server is full or away.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        transport: Any = None,
    ) -> None:
        self._http = require("httpx2", extra="client")
        self.url = (url or os.getenv(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
        secret = key or os.getenv(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._retries = retries
        self._client = self._http.Client(
            base_url=self.url, headers=headers, timeout=timeout, follow_redirects=False, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    # ------------------------------------------------------------------ pieces

    def submit(
        self, prompt: str = "", *, kind: Kind = "music", **options: Unpack[GenerationOptions]
    ) -> Generation:
        """Ask for a piece and return at once.

        A request without an idempotency key gets one, so that a repetition after a broken connection makes no second
        piece.

        Args:
            prompt: what it should sound like.
            kind: "music", "sound", "continuation", "melody" or "style".
            duration: seconds, the audio to continue included; by default 10, at most 3600.
            model: one of `models()`; by default the server's.
            adapters: of `adapters()`, each "jazz", "jazz:0.8" or `{"name", "strength"}`; they need their own base.
            seed: 0 or more; the same seed makes the same audio; drawn where none is given.
            audio: what to continue, to follow or to keep of: a file, a piece of yours, or `{"upload": id}`.
            keep: (start, end) in seconds: regions of `audio` that stay, with models that fill in.
            drums, tune: recordings whose drums and notes are followed; like `audio`. A tune may be a MIDI file.
            notes: `{"at", "until", "pitch"}` in place of a tune.
            chords: (seconds, symbol) pairs, or a text: "C:0 Am:2.5", or bars "C | Am F"; or the path
                of a MIDI file.
            bpm, beats_per_bar: of the piece and of `chords` in bars; as `tempo` and `beats_per_bar` of its plan.
            plan: tempo, key, beats_per_bar, chords; it wins over the prompt.
            sections: `{"prompt", "duration_ms", "styles"}`, one after the other, in place of a duration.
            temperature, top_k, top_p: how codes are drawn; `settings` of `models()` says what holds by default.
            guidance, guidance_beta: how strictly the prompt is followed, alone and beside a melody or style.
            guidance_text, flow_solver, flow_steps, flow_rtol, flow_atol: with flows, how they are followed.
            least_guidance, decoding_steps, span_arrangement, anneal, rescorer, rescorer_weight: with masked models.
            stride: seconds between the windows of a long piece.
            style: `{"eval_q", "excerpt_length"}`: how a style is read.
            negative: what it should not be, beside what the prompt denies itself.
            loop: a seamless loop of so many bars, as long as they are, for models that take plans.
            ending: how it ends at its length, on its tonic: "cadence", "fade" or "ring".
            takes: of so many takes the best is kept, and heard once all are made.
            budget: a time for takes, such as "20s"; or "best", which is eight.
            decoder: what turns the model's codes into audio; by default its own codec.
            fade: seconds at the end that fade to silence.
            priority: 0 to 9; above 0 it goes before others and needs the scope `admin`.
            metadata: words of your own, given back as they are.
            webhook: an https address that is told when the piece is finished.
            idempotency_key: the same key within a day is the same piece; by default a fresh one.
        """
        key = options.get("idempotency_key") or f"{random.SystemRandom().getrandbits(128):032x}"
        given = {name: value for name, value in options.items() if name != "idempotency_key"}
        body = {
            # Music is what a model makes by default, and one that makes sounds makes those.
            **({} if kind == "music" else {"kind": kind}),
            "prompt": prompt,
            **{name: value for name, value in given.items() if value is not None},
        }
        for role in ("chords", "tune"):
            file = body.get(role)
            if isinstance(file, str | Path) and str(file).lower().endswith(_MIDI):
                body[role] = {"midi": base64.b64encode(Path(file).read_bytes()).decode()}
        for role in ("audio", "drums", "tune"):
            audio = body.get(role)
            if isinstance(audio, Generation):
                body[role] = {"generation": audio.id}
            elif isinstance(audio, str | Path):
                body[role] = {"upload": self.upload(audio)["id"]}
        return generation_of(
            self._json("POST", "/v1/generations", json=body, headers={"Idempotency-Key": key})
        )

    def generate(
        self, prompt: str = "", *, kind: Kind = "music", **options: Unpack[GenerationOptions]
    ) -> Generation:
        """Ask for a piece and wait until it is finished; raises ServerError if it failed."""
        return self.wait(self.submit(prompt, kind=kind, **options))

    generate.__doc__ = f"{generate.__doc__}\n\n        Args:{str(submit.__doc__).partition('Args:')[2]}"

    def wait(self, piece: Generation | str, *, timeout: float | None = None) -> Generation:
        """Wait until a piece has succeeded; raises ServerError if it failed or was canceled, or TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while not (found := self.get(piece)).finished:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{found.id} is {found.status} after {timeout:g} s")
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        if found.status != "succeeded":
            error = found.error or {"code": found.status, "message": f"the piece was {found.status}"}
            raise ServerError(
                str(error["message"]), status=200, code=str(error["code"]), field=error.get("field")
            )
        return found

    def get(self, piece: Generation | str) -> Generation:
        """Return how far a piece is."""
        return generation_of(self._json("GET", f"/v1/generations/{id_of(piece)}"))

    def generations(
        self,
        *,
        limit: int | None = None,
        status: Status | Sequence[Status] | None = None,
        q: str | None = None,
    ) -> Iterator[Generation]:
        """Yield your pieces, the newest first, page after page.

        Args:
            limit: at most so many; None is all.
            status: only those in this state, or in one of these.
            q: only those with these words in their prompts.
        """
        filters = {name: value for name, value in (("status", status), ("q", q)) if value is not None}
        after: str | None = None
        left = limit
        while left is None or left > 0:
            parameters: dict[str, Any] = {"limit": min(100, left or 100), **filters}
            if after is not None:
                parameters["after"] = after
            page = self._json("GET", "/v1/generations", params=parameters)
            for entry in page["data"]:
                yield generation_of(entry)
            left = None if left is None else left - len(page["data"])
            after = page["next"]
            if after is None:
                return

    def cancel(self, piece: Generation | str) -> Generation:
        """Stop a piece."""
        return generation_of(self._json("POST", f"/v1/generations/{id_of(piece)}/cancel"))

    def delete(self, piece: Generation | str) -> None:
        """Forget a piece and its audio."""
        self._send("DELETE", f"/v1/generations/{id_of(piece)}").read()

    def events(self, piece: Generation | str, *, after: int = 0) -> Iterator[JobEvent]:
        """Yield what happens to a piece, as it happens, until its end; a broken connection is taken up where it was."""
        last, failures = after, 0
        while True:
            try:
                for event in self._events_once(id_of(piece), last):
                    last, failures = event.id, 0
                    yield event
                    if event.kind in FINISHED:
                        return
                if self.get(piece).finished:
                    return
            except (self._http.TransportError, ServerAway):
                pass
            failures += 1
            if failures > self._retries:
                raise ServerAway("the connection broke again and again", status=0, code="connection")
            time.sleep(http_retry.pause(failures - 1))

    def stream(self, piece: Generation | str, *, format: str = "wav") -> Iterator[bytes]:
        """Yield the audio of a piece while it is made, as the bytes of a file of this format. A broken connection is
        taken up where it was, where the format allows it: wav, pcm and f32."""
        path = f"/v1/generations/{id_of(piece)}/stream"
        given, failures = 0, 0
        while True:
            skip = given
            try:
                with self._client.stream(
                    "GET", path, params={"format": format}, timeout=_long(self._http)
                ) as answer:
                    self._check(answer)
                    for content in answer.iter_bytes():
                        fresh = content[skip:]
                        skip -= len(content) - len(fresh)
                        if fresh:
                            given, failures = given + len(fresh), 0
                            yield fresh
                return
            except (self._http.TransportError, ServerAway) as error:
                failures += 1
                if failures > self._retries or (given and format not in _EXACT):
                    raise ServerAway(
                        f"the stream broke after {given} bytes: {error}", status=0, code="connection"
                    ) from error
            time.sleep(http_retry.pause(failures - 1))

    def audio(self, piece: Generation | str, *, format: str = "wav") -> bytes:
        """Return the file of a finished piece."""
        answer = self._send("GET", f"/v1/generations/{id_of(piece)}/audio", params={"format": format})
        content: bytes = answer.content
        return content

    def download(self, piece: Generation | str, path: str | os.PathLike[str]) -> Path:
        """Write the file of a finished piece; the suffix says in which format."""
        target = Path(path)
        format = _SUFFIXES.get(target.suffix.lower())
        if format is None:
            raise InvalidInput(f"end {target} in one of {', '.join(_SUFFIXES)}", field="path")
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_bytes(self.audio(piece, format=format))
        return target

    # ------------------------------------------------------------------ the rest

    def upload(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Send audio to continue or to follow -> the upload, whose `id` requests name."""
        source = Path(path)
        try:
            content = source.read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read {source}: {error.strerror or error}", field="audio") from error
        return self._json("POST", "/v1/uploads", files={"file": (source.name, content)})

    def models(self) -> list[dict[str, Any]]:
        """Return the models of the server."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/models")["data"]
        return found

    def adapters(self) -> list[dict[str, Any]]:
        """Return the adapters that requests may put onto models: `id`, `base` and `bytes` of each."""
        found: list[dict[str, Any]] = self._json("GET", "/v1/models").get("adapters", [])
        return found

    def load(self, model: str) -> dict[str, Any]:
        """Load a model now."""
        return self._json("POST", f"/v1/models/{model}/load")

    def unload(self, model: str) -> dict[str, Any]:
        """Free the memory of a model."""
        return self._json("POST", f"/v1/models/{model}/unload")

    def detect_watermark(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Return whether a file carries the server's watermark: `ours`, `marked`, `share` of its seconds, `message`."""
        source = Path(path)
        return self._json("POST", "/v1/watermark/detect", files={"file": (source.name, source.read_bytes())})

    def encode(
        self, path: str | os.PathLike[str], *, model: str | None = None, codebooks: int | None = None
    ) -> dict[str, Any]:
        """Return a file as codes."""
        source = Path(path)
        data = {
            name: str(value)
            for name, value in (("model", model), ("codebooks", codebooks))
            if value is not None
        }
        return self._json(
            "POST", "/v1/codec/encode", files={"file": (source.name, source.read_bytes())}, data=data
        )

    def decode(self, codes: Mapping[str, Any]) -> bytes:
        """Turn the answer of `encode` into a WAV file."""
        body = {
            name: codes[name]
            for name in ("codes", "model", "scale", "samples")
            if codes.get(name) is not None
        }
        content: bytes = self._send("POST", "/v1/codec/decode", json=body).content
        return content

    # ------------------------------------------------------------------ transport

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        document: dict[str, Any] = self._send(method, path, **options).json()
        return document

    def _send(self, method: str, path: str, **options: Any) -> Any:
        """Return one request, repeated while the server is full or away if that can do no harm."""
        harmless = http_retry.harmless(method, path, options.get("headers", {}))
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = self._client.request(method, path, **options)
            except self._http.TransportError as error:
                if last or not harmless:
                    raise ServerAway(
                        f"no answer from {self.url}: {error}", status=0, code="connection"
                    ) from error
                time.sleep(http_retry.pause(attempt))
                continue
            if method == "DELETE" and attempt and answer.status_code == 404:
                return answer  # the one whose answer was lost has done it
            refused = http_retry.refused(answer)
            if last or not (refused or (harmless and http_retry.from_between(answer))):
                self._check(answer)
                return answer
            time.sleep(http_retry.asked_pause(answer) if refused else http_retry.pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    def _check(self, answer: Any) -> None:
        if answer.status_code < 400:
            return
        answer.read()
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        wait = answer.headers.get("Retry-After")
        kind = ServerAway if http_retry.from_between(answer) else ServerError
        raise kind(
            str(problem.get("message") or f"{self.url} answered {answer.status_code}"),
            status=answer.status_code,
            code=str(problem.get("code", "http_error")),
            field=problem.get("field"),
            retry_after=float(wait) if wait and wait.isdigit() else None,
        )

    def _events_once(self, piece: str, after: int) -> Iterator[JobEvent]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        path = f"/v1/generations/{piece}/events"
        with self._client.stream("GET", path, headers=headers, timeout=_long(self._http)) as answer:
            self._check(answer)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    if name:
                        fields[name] = value.removeprefix(" ")
                    continue
                if "data" in fields and fields.get("id", "").isdigit():
                    yield JobEvent(
                        id=int(fields["id"]),
                        kind=fields.get("event", "message"),
                        data=json.loads(fields["data"]),
                    )
                fields = {}


def _long(http: Any) -> Any:
    """Return the timeouts for answers that take as long as the piece: silence longer than this means a broken
    connection."""
    return http.Timeout(_WAIT_SECONDS, read=120.0)
