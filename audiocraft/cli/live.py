"""`audiocraft generate --stream`: audio to stdout, to the loudspeaker, or to a file, while it is made."""

from __future__ import annotations

import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from audiocraft.cli.output import note
from audiocraft.cli.words import as_text
from audiocraft.errors import InvalidInput, MissingDependency, require

if TYPE_CHECKING:
    from torch import Tensor

    from audiocraft.models.generator import GeneratorModel
    from audiocraft.workflows.live import AudioListener

StreamFormat = Literal["wav", "pcm", "flac", "mp3", "opus"]
STDOUT = Path("-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlets:
    """This record says where a stream goes beside its file.

    Args:
        stdout: the format of what goes to standard output; None sends nothing there.
        play: also to the loudspeaker.
    """

    stdout: StreamFormat | None = None
    play: bool = False

    @classmethod
    def checked(cls, output: Path | None, *, form: StreamFormat, play: bool) -> Outlets:
        """Refuse a stream that would go nowhere, or to a terminal."""
        if play:
            _sounddevice()
        if output != STDOUT and (play or output is not None):
            return cls(play=play)
        if sys.stdout.isatty():
            raise InvalidInput(
                "a stream is not for a terminal: pipe it ('audiocraft generate ... --stream | ffplay -'), "
                "write it (-o FILE), or hear it (--play)",
                field="output",
            )
        return cls(stdout=form, play=play)


def _sounddevice() -> Any:
    """Return the package that plays, with the library of the system that it needs."""
    try:
        return require("sounddevice", extra="play")
    except OSError as error:
        raise MissingDependency(
            f"cannot play: {error}; install it with: sudo apt install libportaudio2 (Debian, Ubuntu), "
            "sudo dnf install portaudio (Fedora)",
            name="portaudio",
        ) from error


# So much audio may wait for a slow reader before generation waits too.
_WAITING_CHUNKS = 150
# So many seconds are collected before a loudspeaker starts, so that it does not run dry at once.
_HEAD_START = 0.6


class Outlet:
    """An outlet hands chunks to a slow `sink` in a thread of its own, so that they are heard while the next ones are
    made.

    Errors of the sink reach whoever hands it the next chunk, or closes it.
    """

    def __init__(self, sink: Callable[[Any], None]) -> None:
        self._sink = sink
        self._chunks: queue.Queue[Any] = queue.Queue(_WAITING_CHUNKS)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, chunk: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._chunks.put(chunk, timeout=0.2)
                return
            except queue.Full:
                continue
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Wait until everything was taken."""
        self.put(None)
        while self._thread.is_alive():
            self._thread.join(0.2)  # with a timeout, so that Ctrl-C is heard
        if self._error is not None:
            raise self._error

    def drop(self) -> None:
        """Forget what waits."""
        self._stopped.set()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    chunk = self._chunks.get(timeout=0.2)
                except queue.Empty:
                    continue
                if chunk is None:
                    break
                self._sink(chunk)
        except BaseException as error:  # noqa: BLE001 - the other thread raises it
            self._error = error
        finally:
            self._stopped.set()


class Live:
    """This object holds the listeners of one stream, as a `with` block: at its end, they have heard everything or are
    told to stop.

    Args:
        tags: title, artist, comment and software, for formats that have a place for them.
    """

    def __init__(
        self, model: GeneratorModel, duration: float, asked: Outlets, tags: Mapping[str, str]
    ) -> None:
        self._model = model
        self._tags = tags
        self._duration = duration
        self._asked = asked
        self._outlets: list[Outlet] = []
        self._stack = ExitStack()
        self._last: Callable[[], None] | None = None
        self.listeners: Sequence[AudioListener] = ()

    def __enter__(self) -> Live:
        listeners: list[AudioListener] = []
        if self._asked.stdout is not None:
            listeners.append(self._to_stdout(self._asked.stdout))
        if self._asked.play:
            listeners.append(self._to_loudspeaker())
        self.listeners = listeners
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._stack:
            for outlet in self._outlets:
                if kind is None:
                    outlet.close()
                else:
                    outlet.drop()
            if kind is None and self._last is not None:
                self._last()

    def _to_stdout(self, form: StreamFormat) -> AudioListener:
        from audiocraft.audio.encoders import open_encoder
        from audiocraft.audio.pcm import as_samples

        rate, channels = self._model.sample_rate, self._model.audio_channels
        samples = round(self._duration * rate)
        encoder = open_encoder(form, rate, channels, total_samples=samples, tags=self._tags)
        if form == "pcm":
            note(f"raw samples: aplay -f S16_LE -r {rate} -c {channels}")
        outlet = Outlet(lambda audio: _to_reader(encoder.encode(as_samples(audio))))
        self._outlets.append(outlet)
        self._last = lambda: _to_reader(encoder.finish())
        return outlet.put

    def _to_loudspeaker(self) -> AudioListener:
        rate, channels = self._model.sample_rate, self._model.audio_channels
        speaker = Loudspeaker.open(rate, channels, self._duration)
        self._stack.callback(speaker.close)
        outlet = Outlet(speaker.write)
        self._outlets.append(outlet)
        return outlet.put


def _to_reader(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class Loudspeaker:
    """A loudspeaker starts to play once there is a head start, or all."""

    @classmethod
    def open(cls, sample_rate: int, channels: int, seconds: float) -> Loudspeaker:
        """Open the loudspeaker of this machine, for audio that lasts so long."""
        sounddevice = _sounddevice()
        try:
            device = sounddevice.OutputStream(samplerate=sample_rate, channels=channels, dtype="float32")
        except (sounddevice.PortAudioError, OSError) as error:
            raise InvalidInput(f"there is no loudspeaker to play on: {error}", field="play") from error
        return cls(device, round(_HEAD_START * sample_rate), round(seconds * sample_rate))

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()

    def __init__(self, device: Any, head_start: int, total: int) -> None:
        self._device = device
        self._head_start = min(head_start, total)
        self._total = total
        self._waiting: list[Tensor] = []
        self._collected = 0
        self._playing = False

    def write(self, audio: Tensor) -> None:
        """Play the next samples [C, n]."""
        self._waiting.append(audio)
        self._collected += audio.shape[-1]
        if not self._playing and self._collected >= self._head_start:
            self._device.start()
            self._playing = True
        if self._playing:
            for part in self._waiting:
                self._device.write(part.clamp(-1, 1).T.contiguous().numpy())
            self._waiting = []
        if self._collected >= self._total:
            self._device.stop()  # after what was written has been heard


def stream_format(name: str) -> StreamFormat:
    """Return the format called `name`, or a refusal that lists them."""
    for form in get_args(StreamFormat):
        if form == name:
            return cast(StreamFormat, form)
    raise InvalidInput(
        f"{name!r} cannot be streamed; one of {', '.join(get_args(StreamFormat))}", field="stream_format"
    )


def parse_schedule(entries: Sequence[str]) -> tuple[tuple[float, str], ...]:
    """Turn "0: calm piano; 1:30: drums enter" into ((0.0, "calm piano"), (90.0, "drums enter"))

    Args:
        entries: each one or several, divided by semicolons.
    """
    parts = [
        part.strip() for entry in entries for part in as_text(entry, "schedule").split(";") if part.strip()
    ]
    return tuple(_entry(part) for part in parts)


def _entry(text: str) -> tuple[float, str]:
    match = re.fullmatch(r"((?:\d+:){0,2}\d+(?:\.\d+)?)\s*:\s*(.*\S)", text, re.DOTALL)
    if match is None:
        raise InvalidInput(
            f"cannot read {text!r} in the schedule; write SECOND: TEXT, as in '0: calm piano; 1:30: drums enter'",
            field="schedule",
        )
    seconds = 0.0
    for number in match.group(1).split(":"):
        seconds = 60 * seconds + float(number)
    return seconds, match.group(2)
