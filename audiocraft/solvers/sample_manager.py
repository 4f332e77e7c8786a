"""The samples of a run in order: what was generated in which epoch from what, and the same sample of several runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from audiocraft.audio.files import audio_read
from audiocraft.config.training import SolverConfig
from audiocraft.errors import InvalidInput
from audiocraft.solvers.samples import slugify, write_sample
from audiocraft.utils.files import atomic_write

AudioAndRate = tuple[Tensor, int]
_REFERENCES = "reference"


class Run(Protocol):
    """This protocol describes a run in its folder; solvers are such."""

    @property
    def folder(self) -> Path: ...

    @property
    def cfg(self) -> SolverConfig: ...


@dataclass(frozen=True)
class ReferenceSample:
    """This record holds a real recording: what a sample goes on from, or what it is compared with."""

    id: str
    path: str
    duration: float


@dataclass(frozen=True)
class Sample:
    """This record holds one generated file, with all that it was made from. Equal when it is the same file."""

    id: str
    path: str
    epoch: int
    duration: float
    conditioning: Mapping[str, Any] | None
    prompt: ReferenceSample | None
    reference: ReferenceSample | None
    generation_args: Mapping[str, Any] | None

    def __hash__(self) -> int:
        return hash(self.path)

    def audio(self) -> AudioAndRate:
        """Read wav [C, N] and its rate in Hz."""
        return audio_read(self.path)

    def audio_prompt(self) -> AudioAndRate | None:
        """Return what it goes on from, if anything."""
        return None if self.prompt is None else audio_read(self.prompt.path)

    def audio_reference(self) -> AudioAndRate | None:
        """Return what it is compared with, if anything."""
        return None if self.reference is None else audio_read(self.reference.path)


class SampleManager:
    """A manager writes and finds the samples of a run: `<run>/samples/<epoch>/<id>.wav` with a `.json` beside each.

    A sample's id is made of its index and of what it was generated from, so that it is the same in every epoch and run.

    Args:
        xp: the run.
        map_reference_to_sample_id: name references after their sample; otherwise after their content, so that equal
            ones are one file.
    """

    def __init__(self, xp: Run, map_reference_to_sample_id: bool = False) -> None:
        self.xp = xp
        self.base_folder = Path(xp.folder) / xp.cfg.generate.path
        self.reference_folder = self.base_folder / _REFERENCES
        self.map_reference_to_sample_id = map_reference_to_sample_id

    @property
    def samples(self) -> list[Sample]:
        """Return all samples there are, by epoch and id."""
        found = [_read(path) for path in self.base_folder.glob("*/*.json")]
        return sorted((item for item in found if item is not None), key=lambda item: (item.epoch, item.id))

    @property
    def latest_epoch(self) -> int:
        """Return the last epoch that has samples; 0 without any."""
        return max((sample.epoch for sample in self.samples), default=0)

    def add_sample(
        self,
        sample_wav: Tensor,
        epoch: int,
        index: int = 0,
        conditions: Mapping[str, Any] | None = None,
        prompt_wav: Tensor | None = None,
        ground_truth_wav: Tensor | None = None,
        generation_args: Mapping[str, Any] | None = None,
    ) -> Sample:
        """Write sample_wav [C, N], the `index`-th of its epoch, and what it was made from."""
        conditioning = None if conditions is None else {str(k): _plain(v) for k, v in conditions.items()}
        name = _sample_id(index, prompt_wav, conditioning)
        path = self._write(self.base_folder / str(epoch), name, sample_wav)
        sample = Sample(
            id=name,
            path=str(path),
            epoch=epoch,
            duration=self._duration(sample_wav),
            conditioning=conditioning,
            prompt=self._add_reference(prompt_wav, f"{name}_prompt"),
            reference=self._add_reference(ground_truth_wav, name),
            generation_args=None if generation_args is None else dict(generation_args),
        )
        atomic_write(path.with_suffix(".json"), json.dumps(asdict(sample), indent=1, default=str))
        return sample

    def add_samples(
        self,
        samples_wavs: Tensor,
        epoch: int,
        conditioning: Sequence[Mapping[str, Any]] | None = None,
        prompt_wavs: Tensor | None = None,
        ground_truth_wavs: Tensor | None = None,
        generation_args: Mapping[str, Any] | None = None,
    ) -> list[Sample]:
        """Write samples_wavs [B, C, N]; the other parts have a row for each."""
        rows = len(samples_wavs)
        for name, part in (("conditioning", conditioning), ("prompt_wavs", prompt_wavs),
                           ("ground_truth_wavs", ground_truth_wavs)):  # fmt: skip
            if part is not None and len(part) != rows:
                raise InvalidInput(f"{name} has {len(part)} rows for {rows} samples", field=name)
        return [
            self.add_sample(
                samples_wavs[row],
                epoch,
                row,
                None if conditioning is None else conditioning[row],
                None if prompt_wavs is None else prompt_wavs[row],
                None if ground_truth_wavs is None else ground_truth_wavs[row],
                generation_args,
            )
            for row in range(rows)
        ]

    def get_samples(
        self,
        epoch: int = -1,
        max_epoch: int = -1,
        exclude_prompted: bool = False,
        exclude_unprompted: bool = False,
        exclude_conditioned: bool = False,
        exclude_unconditioned: bool = False,
    ) -> set[Sample]:
        """Return the samples of an epoch; of the last one, up to `max_epoch` if given, where `epoch` is negative."""
        everything = self.samples
        if max_epoch >= 0:
            everything = [sample for sample in everything if sample.epoch <= max_epoch]
        wanted = epoch if epoch >= 0 else max((sample.epoch for sample in everything), default=0)
        return {
            sample
            for sample in everything
            if sample.epoch == wanted
            and not (exclude_prompted if sample.prompt is not None else exclude_unprompted)
            and not (exclude_conditioned if sample.conditioning else exclude_unconditioned)
        }

    def _write(self, folder: Path, name: str, wav: Tensor) -> Path:
        config = self.xp.cfg
        return write_sample(folder, name, wav, config.sample_rate, config.generate.audio)

    def _add_reference(self, wav: Tensor | None, name: str) -> ReferenceSample | None:
        if wav is None:
            return None
        name = name if self.map_reference_to_sample_id else _digest(wav)
        kept = list(self.reference_folder.glob(f"{name}.*"))
        path = kept[0] if kept else self._write(self.reference_folder, name, wav)
        return ReferenceSample(name, str(path), self._duration(wav))

    def _duration(self, wav: Tensor) -> float:
        return float(wav.shape[-1] / self.xp.cfg.sample_rate)


def get_samples_for_xps(xps: Sequence[Run], **kwargs: Any) -> dict[str, list[Sample]]:
    """Return the samples that all of these runs have, by id: one of each run, in the order of the runs.

    Args:
        kwargs: as for `SampleManager.get_samples`.
    """
    per_run = [{sample.id: sample for sample in SampleManager(xp).get_samples(**kwargs)} for xp in xps]
    if not per_run:
        return {}
    common = set.intersection(*(set(samples) for samples in per_run))
    return {name: [samples[name] for samples in per_run] for name in sorted(common)}


def _sample_id(index: int, prompt: Tensor | None, conditioning: Mapping[str, Any] | None) -> str:
    name = f"{index:03d}"
    if prompt is not None:
        name += f"_p{_digest(prompt)[:8]}"
    if conditioning:
        text = json.dumps(conditioning, sort_keys=True)
        words = slugify(" ".join(str(value) for value in conditioning.values() if value is not None))
        name += f"_{words[:40].strip('-')}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return name


def _plain(value: Any) -> Any:
    """Return a condition as JSON can hold it: texts and numbers as they are, sounds and records by their
    description."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _digest(wav: Tensor) -> str:
    return hashlib.sha256(wav.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()).hexdigest()[
        :16
    ]


def _read(path: Path) -> Sample | None:
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        for name in ("prompt", "reference"):
            if entry[name] is not None:
                entry[name] = ReferenceSample(**entry[name])
        return Sample(**entry)
    except (OSError, ValueError, KeyError, TypeError):  # not a description of a sample
        return None
