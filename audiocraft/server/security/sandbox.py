"""Recognises strangers' audio files by their first bytes, and decodes them in a child process that can do no harm."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft.config.serving import UploadLimits
from audiocraft.server.errors import DiskFull, TimedOut, TooLarge, UnsupportedMedia
from audiocraft.server.jobs.uploads import DecodedUpload
from audiocraft.server.security.guards import size_of

FOLDER_PREFIX = "audiocraft-upload-"

_CHILD = Path(__file__).with_name("decode_child.py")
_CHILD_MEMORY = 2**30
_REFUSALS = {"too_large": TooLarge, "unsupported": UnsupportedMedia, "disk_full": DiskFull}
_OUT_OF_TIME = (-24, -9)  # SIGXCPU; SIGKILL, where that is not heard
_ACCEPTED = "wav, flac, ogg (Vorbis or Opus), mp3 or acx"
ACX_HEAD = b"\x89ACX\r\n\x1a\n"

ReadCoded = Callable[[Path, Path, str], dict[str, Any]]
"""Writes the audio of an .acx file, whose codes a model has to decode, as raw samples -> what the child says of other
files. Takes the source, the target and the field of the request."""


def sniff(head: bytes) -> str | None:
    """Return the format by the first bytes of a file, whatever it is called; None if it is not one of ours."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6)):
        return "mp3"
    if head[:8] == ACX_HEAD:
        return "acx"
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedFile:
    """A decoded file holds audio on disk: raw float32, frames interleaved. What has samples that are no numbers is
    found by whoever reads it.

    Args:
        kind: the format of the file that was sent.
        sha256: the digest of the file as it was sent.
    """

    path: Path
    sample_rate: int
    channels: int
    samples: int
    kind: str
    sha256: str

    @property
    def seconds(self) -> float:
        """Return how many seconds it lasts."""
        return self.samples / self.sample_rate


@contextmanager
def decoded_file(
    content: bytes, limits: UploadLimits, *, field: str = "file", read_coded: ReadCoded | None = None
) -> Iterator[DecodedFile]:
    """Yield the audio in `content` as a file that lasts as long as the context, or refuse it and say what is wrong.
    Takes up to seconds: not for event loops.

    Args:
        read_coded: reads .acx files; None refuses them.
    """
    if len(content) > limits.bytes:
        raise TooLarge(f"a file may have {size_of(limits.bytes)}, this one has more", field=field)
    kind = sniff(content[:16])
    if kind is None:
        raise UnsupportedMedia(f"this is no audio file that is read here; send {_ACCEPTED}", field=field)
    if kind == "acx" and read_coded is None:
        raise UnsupportedMedia("this server has no codecs of its own, so it reads no acx files", field=field)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as folder:
        source, target = Path(folder, f"in.{kind}"), Path(folder, "out.f32")
        source.write_bytes(content)
        if kind == "acx" and read_coded is not None:
            found = read_coded(source, target, field)
        else:
            found = _run(source, target, limits, field)
        yield DecodedFile(
            path=target, sample_rate=int(found["sample_rate"]), channels=int(found["channels"]),
            samples=int(found["samples"]), kind=str(found["kind"]), sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip


def decode(
    content: bytes, limits: UploadLimits, *, field: str = "file", read_coded: ReadCoded | None = None
) -> DecodedUpload:
    """Return the audio in `content`, or a refusal that says what is wrong. Takes up to seconds: not for event loops."""
    with decoded_file(content, limits, field=field, read_coded=read_coded) as file:
        frames = np.fromfile(file.path, dtype=np.float32).reshape(file.samples, file.channels)
    wav = np.ascontiguousarray(frames.T)
    del frames
    if not bool(np.isfinite(wav).all()):
        raise UnsupportedMedia("the file has samples that are no numbers", field=field)
    return DecodedUpload(
        wav=wav.clip(-1, 1, out=wav), sample_rate=file.sample_rate, kind=file.kind, sha256=file.sha256
    )


def _run(source: Path, target: Path, limits: UploadLimits, field: str) -> dict[str, Any]:
    bounds = {
        "memory": _CHILD_MEMORY, "cpu_seconds": math.ceil(limits.decode_seconds),
        "decoded_bytes": limits.decoded_bytes, "seconds": limits.seconds, "channels": limits.channels,
        "min_rate": limits.min_sample_rate, "max_rate": limits.max_sample_rate,
    }  # fmt: skip
    command = [sys.executable, "-I", str(_CHILD), str(source), str(target), json.dumps(bounds)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=2 * limits.decode_seconds, stdin=subprocess.DEVNULL,
            cwd=source.parent, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        # Its own time is limited too, so this is a machine with too much to do, not a bad file.
        raise TimedOut("the server is too busy to decode the file; try again", retry_after=5.0) from error
    if done.returncode in _OUT_OF_TIME:
        raise TooLarge("decoding the file takes too much time or memory", field=field)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise UnsupportedMedia("the file is damaged: its decoder stopped", field=field) from error
    if "refused" in answer:
        raise _REFUSALS[answer["refused"]](str(answer["message"]), field=field)
    return answer
