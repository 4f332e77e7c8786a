"""Files of jobs and uploads. Names come from identifiers of ours, never from a request.

The audio of a job is one WAV file per attempt that grows while the job runs; its header gets the final sizes before
the job is called finished, so that what is finished is an ordinary file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from audiocraft.audio.pcm import Samples, from_pcm16
from audiocraft.audio.wav import BYTES_PER_SAMPLE, HEADER_BYTES
from audiocraft.audio.writer import GrowingWav
from audiocraft.config.limits import FADE
from audiocraft.errors import InvalidInput
from audiocraft.server.jobs.records import GenerationJob, is_id
from audiocraft.utils.files import atomic_path

_CHUNK = 1 << 20


class BlobStore:
    """This store is the folder where audio is kept; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder; only its owner may look into it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def free_bytes(self) -> int:
        """Return how much room there is."""
        return shutil.disk_usage(self.folder).free

    # ------------------------------------------------------------------ audio of jobs

    def audio_path(self, job: GenerationJob) -> Path:
        """Return the audio of a job's present attempt; it may not exist yet."""
        return self._job(job.id) / f"audio-{job.fence}.wav"

    def writer(self, job: GenerationJob, sample_rate: int, channels: int) -> GrowingWav:
        """Begin the audio of a job's present attempt."""
        path = self.audio_path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        return GrowingWav(path, sample_rate, channels)

    def read(self, job: GenerationJob, start: int, stop: int) -> Samples:
        """Return the samples [C, n] from `start` to `stop`; fewer where the file ends."""
        assert job.channels is not None
        width = job.channels * BYTES_PER_SAMPLE
        with open(self.audio_path(job), "rb") as file:
            file.seek(HEADER_BYTES + start * width)
            content = file.read(max(0, stop - start) * width)
        whole = len(content) - len(content) % width
        frames = np.frombuffer(content[:whole], dtype="<i2").reshape(-1, job.channels)
        return from_pcm16(frames.T)

    def delete_job(self, job: str) -> None:
        """Remove everything of a job."""
        shutil.rmtree(self._job(job), ignore_errors=True)

    def folder_of(self, job: str) -> Path:
        """Return where further files of a job may be put, such as pictures and other formats; deleted with it."""
        folder = self._job(job)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # ------------------------------------------------------------------ audio that was sent

    def keep_upload(self, upload: str, wav: Samples, sample_rate: int) -> None:
        """Store decoded audio [C, N] under an upload's identifier."""
        path = self._upload(upload)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_float(path, wav, sample_rate)

    def use_upload(self, upload: str, job: str, role: str = "audio") -> None:
        """Give a job its own copy of an upload, which costs no space and outlives the upload.

        Args:
            role: the field of the request that names it.
        """
        target = self.folder_of(job) / _input(role)
        try:
            os.link(self._upload(upload), target)
        except FileNotFoundError:
            raise InvalidInput(f"there is no upload {upload!r}", field=f"{role}.upload") from None
        except OSError:
            shutil.copyfile(self._upload(upload), target)

    def use_audio(self, source: GenerationJob, job: str, role: str = "audio", *, whole: bool = False) -> None:
        """Give a job its own copy of the audio of a finished one, which costs no space and outlives it. An end that
        fades longer than usual is left out of the copy: who goes on from it would begin in silence.

        Args:
            role: the field of the request that names it.
            whole: the end stays, however it fades.
        """
        path, target = self.audio_path(source), self.folder_of(job) / _input(role)
        surplus = 0.0 if whole else source.request.get("fade", FADE) - FADE
        try:
            if surplus > 0 and path.is_file():
                frames, rate = soundfile.read(path, dtype="int16", always_2d=True)
                soundfile.write(target, frames[: max(1, len(frames) - round(surplus * rate))], rate)
                return
            os.link(path, target)
        except FileNotFoundError:
            raise InvalidInput(
                f"the audio of {source.id} is not kept any more", field=f"{role}.generation"
            ) from None
        except OSError:
            shutil.copyfile(path, target)

    def parts_of(self, job: str) -> Path:
        """Return where the parts of something of the studio are; they outlive an attempt, so that the next one goes
        on."""
        return self._job(job) / "parts"

    def use_parts(self, source: str, job: str) -> None:
        """Give a job its own copy of the parts of another one, which costs no space and outlives it."""
        target = self.parts_of(job)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.parts_of(source).glob("*")):
            try:
                os.link(path, target / path.name)
            except FileNotFoundError:  # just deleted: it is made again
                continue
            except OSError:
                shutil.copyfile(path, target / path.name)

    def file_path(self, job: GenerationJob, name: str) -> Path:
        """Return a further file of a job's present attempt, by a name that a worker gave it; it may not exist yet."""
        return self._job(job.id) / f"files-{job.fence}" / name

    def input_of(self, job: str, role: str = "audio") -> tuple[Samples, int] | None:
        """Return the audio [C, N] that a field of a job's request names, if it names any."""
        path = self._job(job) / _input(role)
        if not path.exists():
            return None
        frames, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return np.ascontiguousarray(frames.T), int(rate)

    def delete_upload(self, upload: str) -> None:
        """Remove an upload."""
        self._upload(upload).unlink(missing_ok=True)

    def upload_path(self, upload: str) -> Path:
        """Return where the decoded audio of an upload is."""
        return self._upload(upload)

    def jobs(self) -> Iterator[str]:
        """Yield the identifiers of all jobs that have a folder."""
        for folder in self.folder.glob("gen/*/*"):
            if is_id(folder.name, "gen"):
                yield folder.name

    def uploads(self) -> Iterator[str]:
        """Yield the identifiers of all uploads that have a file."""
        for path in self.folder.glob("upl/*/*.wav"):
            if is_id(path.stem, "upl"):
                yield path.stem

    def _job(self, job: str) -> Path:
        if not is_id(job, "gen"):
            raise InvalidInput("that is no identifier of a generation", field="id")
        return self.folder / "gen" / job[-2:] / job

    def _upload(self, upload: str) -> Path:
        if not is_id(upload, "upl"):
            raise InvalidInput("that is no identifier of an upload", field="audio.upload")
        return self.folder / "upl" / upload[-2:] / f"{upload}.wav"


def _input(role: str) -> str:
    """Return the file of the audio that a field of a request names."""
    return "input.wav" if role == "audio" else f"input-{role}.wav"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while content := file.read(_CHUNK):
            digest.update(content)
    return digest.hexdigest()


def _write_float(path: Path, wav: Samples, sample_rate: int) -> None:
    with atomic_path(path) as temporary:
        soundfile.write(temporary, np.ascontiguousarray(wav.T), sample_rate, subtype="FLOAT", format="WAV")
