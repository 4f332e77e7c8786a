"""The codes of a whole manifest, encoded once with a codec and kept in memory, with the labels of each clip.
Encoding resumes where it stopped: shards that are there are not made again."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.models.encodec import CompressionModel
from audiocraft.solvers.crops import read_manifest
from audiocraft.types import AudioMeta
from audiocraft.utils.files import atomic_write

logger = logging.getLogger(__name__)

CLIPS_PER_SHARD = 512
# What a clip's side file holds that training needs; the rest stays on disk.
LABELS = ("captions", "description", "bpm", "key", "chords", "first_beat", "beats_per_bar")


@dataclass(frozen=True)
class Tokens:
    """codes [n, K, T] int16, how many frames of each are real [n], and the labels."""

    codes: Tensor
    lengths: Tensor
    labels: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.labels)


def encoder_digest(codec: CompressionModel) -> str:
    """Twelve letters for the weights that make codes: a codec with another encoder never reads this one's codes,
    while a decoder that was trained further still does."""
    return weights_digest(codec, skip="decoder.")[:12]


def load_tokens(
    manifest: Path, codec: CompressionModel, *, cache: Path, batch_size: int = 16, limit: int | None = None
) -> Tokens:
    """The codes of every clip of a manifest, from the cache as far as it has them."""
    metas = read_manifest(manifest)[:limit]
    if not metas:
        raise ConfigError(f"{manifest} lists no clips")
    folder = cache / encoder_digest(codec) / hashlib.sha256(str(manifest.resolve()).encode()).hexdigest()[:8]
    shards = [metas[i : i + CLIPS_PER_SHARD] for i in range(0, len(metas), CLIPS_PER_SHARD)]
    started, fresh = time.monotonic(), 0
    codes, lengths = [], []
    for number, shard in enumerate(shards):
        path = folder / f"{number:05d}-{_fingerprint(shard)}.safetensors"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, safetensors.torch.save(_encode(codec, shard, batch_size)))
            fresh += len(shard)
            left = (time.monotonic() - started) / fresh * (len(metas) - (number + 1) * CLIPS_PER_SHARD)
            done = min(len(metas), (number + 1) * CLIPS_PER_SHARD)
            logger.info("encoded %d of %d clips, %.0f s left", done, len(metas), max(0.0, left))
        tensors = safetensors.torch.load_file(path)
        codes.append(tensors["codes"])
        lengths.append(tensors["lengths"])
    longest = max(part.shape[-1] for part in codes)
    padded = [torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in codes]
    return Tokens(torch.cat(padded), torch.cat(lengths), tuple(_labels(meta) for meta in metas))


def _fingerprint(metas: Sequence[AudioMeta]) -> str:
    """Which clips a shard holds, so that a manifest that changed is encoded again."""
    text = json.dumps([[meta.path, round(meta.duration, 3)] for meta in metas])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@torch.inference_mode()
def _encode(codec: CompressionModel, metas: Sequence[AudioMeta], batch_size: int) -> dict[str, Tensor]:
    device = next(codec.parameters()).device
    codes, lengths = [], []
    for first in range(0, len(metas), batch_size):
        clips = [_read(meta, codec) for meta in metas[first : first + batch_size]]
        longest = max(clip.shape[-1] for clip in clips)
        batch = torch.stack([torch.nn.functional.pad(clip, (0, longest - clip.shape[-1])) for clip in clips])
        encoded, _ = codec.encode(batch.to(device))
        codes.append(encoded.to("cpu", torch.int16))
        frames = [
            min(encoded.shape[-1], round(clip.shape[-1] / codec.sample_rate * codec.frame_rate))
            for clip in clips
        ]
        lengths += frames
    longest = max(part.shape[-1] for part in codes)
    padded = [torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in codes]
    return {"codes": torch.cat(padded), "lengths": torch.tensor(lengths, device="cpu")}


def _read(meta: AudioMeta, codec: CompressionModel) -> Tensor:
    audio, rate = audio_read(meta.path)
    return convert_audio(audio, rate, codec.sample_rate, codec.channels)


def _labels(meta: AudioMeta) -> Mapping[str, Any]:
    """The labels of the file of the same name with `.json` behind it."""
    path = Path(meta.path).with_suffix(".json")
    try:
        everything = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}", field="manifest") from error
    return {name: everything[name] for name in LABELS if everything.get(name) is not None}


def batches(count: int, size: int) -> Iterator[range]:
    """Consecutive ranges that cover `count`."""
    return (range(first, min(count, first + size)) for first in range(0, count, size))
