"""Samples that a run writes for people to listen to."""

from __future__ import annotations

import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from audiocraft.audio.convert import convert_audio, normalize_loudness
from audiocraft.audio.files import audio_write
from audiocraft.audio.finishing import finished
from audiocraft.config.training import GenerateConfig, SampleAudioConfig
from audiocraft.types import SegmentInfo
from audiocraft.utils.files import atomic_write

_LONGEST_NAME = 60


def slugify(value: str, allow_unicode: bool = False) -> str:
    """Return a text as a file name: letters, digits and hyphens."""
    kept = value if allow_unicode else value.encode("ascii", "ignore").decode()
    return re.sub(r"[^\w]+", "-", kept.lower()).strip("-")[:_LONGEST_NAME] or "sample"


def write_sample(
    folder: Path, name: str, audio: Tensor, sample_rate: int, settings: SampleAudioConfig
) -> Path:
    """Write audio [C, N] as a file in the run's format, rate and level. What is brought to a loudness is limited, not
    cut."""
    rate, strategy = settings.sample_rate, settings.strategy
    audio = convert_audio(audio.float().cpu(), sample_rate, rate, audio.shape[0])
    if strategy == "loudness":
        audio = finished(normalize_loudness(audio, rate, settings.loudness_headroom_db), rate)
        strategy = "clip"
    return audio_write(folder / name, audio, rate, format=settings.format, strategy=strategy)


class SampleWriter:
    """`with SampleWriter(folder, sample_rate, settings) as writer:` writes samples in the run's format and level, in as
    many threads as the settings say; at the end of the block all of them are there."""

    def __init__(self, folder: Path, sample_rate: int, settings: GenerateConfig) -> None:
        self.folder, self.sample_rate, self.settings = folder, sample_rate, settings
        self._pool = ThreadPoolExecutor(max(1, settings.num_workers), thread_name_prefix="samples")
        self._written: list[Future[Path]] = []

    def write(self, name: str, audio: Tensor) -> None:
        """Write audio [C, N] as a file called `name`."""
        # Off the device before another thread sees it.
        self._written.append(self._pool.submit(self._write, name, audio.detach().float().cpu()))

    def note(self, name: str, info: SegmentInfo) -> None:
        """Say in `name.json` which part of which file a sample is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {"path": info.meta.path, "start": info.seek_time, "seconds": info.n_frames / info.sample_rate}
        atomic_write(self.folder / f"{name}.json", json.dumps(told, indent=1))

    def _write(self, name: str, audio: Tensor) -> Path:
        return write_sample(self.folder, name, audio, self.sample_rate, self.settings.audio)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            for written in self._written:
                written.result()
