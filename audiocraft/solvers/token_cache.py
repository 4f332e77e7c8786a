"""The codes of a whole manifest, encoded once with a codec and kept in memory, with what is told about each clip.
Encoding resumes where it stopped: shards that are there are not made again."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_read
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.config.training import TokenCacheConfig
from audiocraft.errors import InvalidInput
from audiocraft.models.encodec import CompressionModel
from audiocraft.types import AudioMeta
from audiocraft.utils.files import atomic_write

logger = logging.getLogger(__name__)

CLIPS_PER_SHARD = 512
_BATCH = 16


@dataclass(frozen=True)
class Tokens:
    """codes [n, K, T] int16, and how many frames of each are real [n]: 0 for a clip that could not be read."""

    codes: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)


class TokenCache:
    """The codes of manifests in a folder on disk.

    Args:
        num_workers: threads that read audio while the codec encodes.
    """

    def __init__(self, folder: Path, codec: CompressionModel, *, num_workers: int = 0) -> None:
        self.folder, self.codec, self.num_workers = folder, codec, num_workers
        # The codes of a model that reads fewer codebooks are others; those of all of them keep their old place.
        some = codec.num_codebooks != codec.total_codebooks
        self.name = encoder_digest(codec) + (f"-{codec.num_codebooks}" if some else "")

    def load(self, manifest: Path, metas: Sequence[AudioMeta]) -> Tokens:
        """The codes of clips of a manifest, from the cache as far as it has them."""
        shards = list(self._shards(manifest, metas))
        self._make([shard for shard in shards if not shard[0].exists()], len(metas))
        tensors = [safetensors.torch.load_file(path) for path, _ in shards]
        longest = max(part["codes"].shape[-1] for part in tensors)
        padded = [
            torch.nn.functional.pad(part["codes"], (0, longest - part["codes"].shape[-1])) for part in tensors
        ]
        return Tokens(torch.cat(padded), torch.cat([part["lengths"] for part in tensors]))

    def write(self, manifest: Path, metas: Sequence[AudioMeta], settings: TokenCacheConfig) -> None:
        """Encode one of several parts of the shards, so that machines share the work."""
        mine = list(self._shards(manifest, metas))[settings.write_shard :: settings.write_num_shards]
        absent = [shard for shard in mine if not shard[0].exists()]
        self._make(absent, sum(len(part) for _, part in absent))

    def _shards(
        self, manifest: Path, metas: Sequence[AudioMeta]
    ) -> Iterator[tuple[Path, Sequence[AudioMeta]]]:
        folder = self.folder / self.name / hashlib.sha256(str(manifest.resolve()).encode()).hexdigest()[:8]
        for number, first in enumerate(range(0, len(metas), CLIPS_PER_SHARD)):
            part = metas[first : first + CLIPS_PER_SHARD]
            yield folder / f"{number:05d}-{_fingerprint(part)}.safetensors", part

    def _make(self, absent: Sequence[tuple[Path, Sequence[AudioMeta]]], total: int) -> None:
        started, done, wanted = time.monotonic(), 0, sum(len(part) for _, part in absent)
        for path, part in absent:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, safetensors.torch.save(self._encode(part)))
            done += len(part)
            left = (time.monotonic() - started) / done * (wanted - done)
            logger.info("encoded %d of %d clips, %.0f s left", total - wanted + done, total, left)

    @torch.inference_mode()
    def _encode(self, metas: Sequence[AudioMeta]) -> dict[str, Tensor]:
        device = next(self.codec.parameters()).device
        codes, lengths = [], []
        with ThreadPoolExecutor(max(1, self.num_workers), thread_name_prefix="clips") as pool:
            for first in range(0, len(metas), _BATCH):
                clips = list(pool.map(self._read, metas[first : first + _BATCH]))
                longest = max(clip.shape[-1] for clip in clips)
                padded = [torch.nn.functional.pad(clip, (0, longest - clip.shape[-1])) for clip in clips]
                encoded, _ = self.codec.encode(torch.stack(padded).to(device))
                codes.append(encoded.to("cpu", torch.int16))
                lengths += [min(encoded.shape[-1], self._frames(clip)) for clip in clips]
        longest = max(part.shape[-1] for part in codes)
        whole = [torch.nn.functional.pad(part, (0, longest - part.shape[-1])) for part in codes]
        return {"codes": torch.cat(whole), "lengths": torch.tensor(lengths, device="cpu")}

    def _frames(self, clip: Tensor) -> int:
        """Frames of a clip [C, N] that are real; a single sample stands for a clip that could not be read."""
        if clip.shape[-1] <= 1:
            return 0
        return round(clip.shape[-1] / self.codec.sample_rate * self.codec.frame_rate)

    def _read(self, meta: AudioMeta) -> Tensor:
        try:
            audio, rate = audio_read(meta.path)
            if audio.numel() and torch.isfinite(audio).all():
                return convert_audio(audio, rate, self.codec.sample_rate, self.codec.channels)
            logger.warning(
                "left out: %s holds %s",
                meta.path,
                "samples that are not numbers" if audio.numel() else "no audio",
            )
        except InvalidInput as error:
            # One damaged file in a million costs itself and this line, not the run.
            logger.warning("left out: %s", error)
        return torch.zeros(self.codec.channels, 1, device="cpu")


def encoder_digest(codec: CompressionModel) -> str:
    """Twelve letters for the weights that make codes: a codec with another encoder never reads this one's codes,
    while a decoder that was trained further still does."""
    return weights_digest(codec, skip="decoder.")[:12]


def _fingerprint(metas: Sequence[AudioMeta]) -> str:
    """Which clips a shard holds, so that a manifest that changed is encoded again."""
    text = json.dumps([[meta.path, round(meta.duration, 3)] for meta in metas])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def batches(count: int, size: int) -> Iterator[range]:
    """Consecutive ranges that cover `count`."""
    return (range(first, min(count, first + size)) for first in range(0, count, size))
