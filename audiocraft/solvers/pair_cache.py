"""Clips and their fakes, made once and kept on disk beside the corpus: what a codec's decoder made of a clip, and what
a model made of its caption. A part that is there is not made again."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read, encode_audio
from audiocraft.audio.pcm import from_pcm16, pcm16
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.config.analysis import GeneratorConfig
from audiocraft.config.data import Split
from audiocraft.config.decode import encode
from audiocraft.config.training import AnalysisSolverConfig
from audiocraft.data.info_audio_dataset import get_captions, read_info
from audiocraft.data.manifest import audio_digest, load_audio_meta, manifest_file
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models.audiogen import AudioGen
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.musicgen import MusicGen
from audiocraft.solvers.crops import Crops, manifest_folder
from audiocraft.solvers.random_streams import generator
from audiocraft.types import AudioMeta
from audiocraft.utils import distrib
from audiocraft.utils.files import atomic_path

logger = logging.getLogger(__name__)

DECODED = "decoded"
_BATCH = 8
# Which random decisions a generator is for, beside those of `crops` and `pairs`.
_FORMAT, _PROMPT = 5, 6
# What people store audio in, and the rates that are drawn from, in kb/s.
_FORMATS = (("mp3", 32.0, 160.0), ("opus", 6.0, 96.0))


@dataclass(frozen=True)
class Pairs:
    """This record holds clips and their fakes, int16 [n, 2, N] in a file; where they come from."""

    name: str
    audio: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.audio)

    def window(self, index: int, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Return the same `size` samples of both sides of a pair, [1, size] each."""
        both = torch.from_numpy(from_pcm16(self.audio[index, :, start : start + size]))
        return both[:1], both[1:]


@torch.no_grad()
def through(codec: CompressionModel, audio: Tensor, codebooks: int | None = None) -> Tensor:
    """Return audio [B, C, N] encoded and decoded, with only the first `codebooks` codebooks where a number is given."""
    codes, scale = codec.encode(audio)
    codes = codes if codebooks is None else codes[:, : max(1, codebooks)]
    return _fitted(codec.decode(codes, scale), audio.shape[-1])


def load_pairs(config: AnalysisSolverConfig, codec: CompressionModel, split: Split) -> list[Pairs]:
    """Return all pairs of "train" or "valid": those of the codec, then those of each generator. One process makes
    them."""
    if distrib.is_rank_zero():
        _all_parts(config, codec, split)
    distrib.barrier()
    return _all_parts(config, codec, split)


def _all_parts(config: AnalysisSolverConfig, codec: CompressionModel, split: Split) -> list[Pairs]:
    """Return all parts: those that are there are read, the others are made."""
    fakes = config.fakes
    count = fakes.clips if split == "train" else fakes.valid_clips
    identity = [
        weights_digest(codec)[:12],
        encode(config.datasource),
        list(fakes.codebooks),
        [audio_digest(source.meta) for source in Crops(config, split).sources],
    ]
    parts = [_part(config, split, DECODED, identity, count, lambda: decoded(config, codec, split, count))]
    for settings in fakes.generators:
        count = settings.clips if split == "train" else settings.valid_clips
        if count:
            parts.append(_generated_part(config, settings, split, count))
    return parts


def _generated_part(
    config: AnalysisSolverConfig, settings: GeneratorConfig, split: Split, count: int
) -> Pairs:
    model = (MusicGen if settings.kind == "music" else AudioGen).get_pretrained(
        settings.model, device=config.device
    )
    identity = [
        settings.model,
        settings.train,
        settings.valid,
        weights_digest(model.lm)[:12],
        weights_digest(model.compression_model)[:12],
        audio_digest(load_audio_meta(manifest_file(_manifest(config, settings, split)))),
    ]
    make = lambda: generated(config, model, settings, split, count)  # noqa: E731
    return _part(config, split, settings.model, identity, count, make)


def _part(
    config: AnalysisSolverConfig,
    split: Split,
    name: str,
    identity: Sequence[object],
    count: int,
    make: Callable[[], Iterator[tuple[Tensor, Tensor]]],
) -> Pairs:
    """Return the file for what `identity` says, filled by `make` when it is not there."""
    root = Path(config.fakes.cache) if config.fakes.cache else Path(config.datasource.root or ".") / "pairs"
    size = round((config.dataset.segment_duration or 0) * config.sample_rate)
    what = [split, config.seed, config.sample_rate, size, count, config.fakes.formats, *identity]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
    path = root / f"{Path(name).name}-{split}-{key}.npy"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as unfinished:
            _fill(unfinished, config, name, count, size, make())
    return Pairs(name, np.load(path, mmap_mode="r"))


def _fill(
    path: Path,
    config: AnalysisSolverConfig,
    name: str,
    count: int,
    size: int,
    pairs: Iterator[tuple[Tensor, Tensor]],
) -> None:
    """Write pairs [N] as 16 bits, some of them after a lossy format."""
    audio = np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(count, 2, size))
    started = time.monotonic()
    for index, pair in enumerate(pairs):
        random = generator(config.seed, index, 0, _FORMAT)
        for side, wav in enumerate(_stored(list(pair), config.sample_rate, config.fakes.formats, random)):
            audio[index, side] = pcm16(wav)
        if (index + 1) % 200 == 0:
            left = (time.monotonic() - started) / (index + 1) * (count - index - 1)
            logger.info("%s: %d of %d pairs, %.0f s left", name, index + 1, count, left)
    audio.flush()


def _stored(wavs: list[Tensor], rate: int, share: float, random: np.random.Generator) -> list[Tensor]:
    """Return both sides after the same lossy file, in a share of cases."""
    lossy, which, at = random.random(3)
    if lossy >= share:
        return wavs
    format, slowest, fastest = _FORMATS[int(which * len(_FORMATS))]
    return [lossy_copy(wav, rate, format, slowest * (fastest / slowest) ** at) for wav in wavs]


def lossy_copy(wav: Tensor, rate: int, format: str, kbps: float) -> Tensor:
    """Return wav [N] as a file of that format holds it."""
    content = io.BytesIO(encode_audio(wav[None], rate, format, kbps))
    frames, stored_rate = soundfile.read(content, dtype="float32", always_2d=True)
    return _fitted(convert_audio(torch.from_numpy(frames.T), stored_rate, rate, 1), len(wav))[0]


def decoded(
    config: AnalysisSolverConfig, codec: CompressionModel, split: Split, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield clips [N] of the corpus, and each through the codec."""
    crops = Crops(config, split)
    device = next(codec.parameters()).device
    choices: Sequence[int | None] = config.fakes.codebooks or (None,)
    for first in range(0, count, _BATCH):
        audio = torch.stack([crops.crop(0, row) for row in range(first, min(count, first + _BATCH))])
        books = choices[first // _BATCH % len(choices)]
        yield from zip(audio[:, 0], through(codec, audio.to(device), books)[:, 0].cpu(), strict=True)


def generated(
    config: AnalysisSolverConfig,
    model: MusicGen | AudioGen,
    settings: GeneratorConfig,
    split: Split,
    count: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield clips [N] of a manifest, and what a model makes of their captions."""
    seconds = config.dataset.segment_duration or 0.0
    manifest = _manifest(config, settings, split)
    least = seconds * config.dataset.min_segment_ratio
    files = [meta for meta in load_audio_meta(manifest_file(manifest)) if meta.duration >= least]
    if not files:
        raise ConfigError(f"{manifest} lists no file of {least:g} s or more")
    # Training and validation never share a seed.
    offset = 0 if split == "train" else 2**20
    order = generator(config.seed, offset, 0, _PROMPT).permutation(len(files))
    size = round(seconds * config.sample_rate)
    for first in range(0, count, _BATCH):
        numbers = range(first, min(count, first + _BATCH))
        metas = [files[order[number % len(files)]] for number in numbers]
        request = GenerationRequest(
            prompts=tuple(_caption(meta, number) for meta, number in zip(metas, numbers, strict=True)),
            duration=seconds,
            seeds=tuple(offset + number for number in numbers),
        )
        result = model.run(request)
        for meta, made in zip(metas, result.audio, strict=True):
            audio, rate = audio_read(meta.path, 0.0, seconds, pad=True)
            real = convert_audio(audio, rate, config.sample_rate, 1)
            fake = convert_audio(made.float().cpu(), result.sample_rate, config.sample_rate, 1)
            yield _fitted(real, size)[0], _fitted(fake, size)[0]


def _manifest(config: AnalysisSolverConfig, settings: GeneratorConfig, split: Split) -> Path:
    return manifest_folder(config.datasource, settings.train if split == "train" else settings.valid)


def _caption(meta: AudioMeta, number: int) -> str:
    try:
        captions = get_captions(read_info(meta).get("captions"))
    except InvalidInput as error:
        raise ConfigError(f"a generator needs the captions of {meta.path}: {error}") from error
    if not captions:
        raise ConfigError(f"a generator needs the captions of {meta.path}, and its JSON file has none")
    return captions[number % len(captions)]


def _fitted(wav: Tensor, length: int) -> Tensor:
    """Cut wav [..., N], or fill it with zeros."""
    return torch.nn.functional.pad(wav[..., :length], (0, max(0, length - wav.shape[-1])))
