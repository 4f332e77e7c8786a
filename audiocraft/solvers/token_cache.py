"""The codes of a whole manifest, encoded once with a codec and kept in memory, with what is told about each clip.
Encoding resumes where it stopped: shards that are there are not made again."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from audiocraft.audio.convert import convert_audio
from audiocraft.audio.files import audio_info, audio_pieces, audio_read
from audiocraft.audio.pieces import convert_pieces
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.config.training import TokenCacheConfig
from audiocraft.data.manifest import audio_digest
from audiocraft.errors import InvalidInput, OutOfMemoryEstimate
from audiocraft.models.codecs.long_audio import LONG_S, encode_pieces, works_in_pieces
from audiocraft.models.encodec import CompressionModel
from audiocraft.types import AudioMeta
from audiocraft.utils.files import atomic_write

logger = logging.getLogger(__name__)

CLIPS_PER_SHARD = 512
# Clips that are encoded at once, and seconds of them, padding included.
_BATCH, _BATCH_S = 16, 240.0
# Silence that is encoded after each clip, for crops that reach beyond its end.
_SILENCE_S = 1.0
_SAID_EVERY_S = 15.0
"""Between two lines that say how far the encoding is."""


class _Reports:
    """This object says how far the encoding is, every now and then and at the end: a corpus takes minutes to hours.

    Args:
        there: clips that were encoded before.
        total: clips of the manifest, or of this machine's part of it.
    """

    def __init__(self, there: int, total: int) -> None:
        self._there, self._total, self._done = there, total, 0
        self._began = self._said = time.monotonic()

    def more(self, clips: int) -> None:
        """Count `clips` more."""
        self._done += clips
        now, reached = time.monotonic(), self._there + self._done
        if reached < self._total and now - self._said < _SAID_EVERY_S:
            return
        left = (now - self._began) / self._done * (self._total - reached)
        logger.info("encoded %d of %d clips, %.0f s left", reached, self._total, left)
        self._said = now


@dataclass(frozen=True)
class Tokens:
    """This record holds the codes [K, T] int16 of each clip, and how many of their frames are real [n], before silence:
    0 for a clip that could not be read."""

    codes: Sequence[Tensor]
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)


class TokenCache:
    """The cache keeps the codes of manifests in a folder on disk.

    Args:
        num_workers: threads that read audio while the codec encodes.
    """

    def __init__(self, folder: Path, codec: CompressionModel, *, num_workers: int = 0) -> None:
        self.folder, self.codec, self.num_workers = folder, codec, num_workers
        # The codes of a model that reads fewer codebooks are others; those of all of them keep their old place.
        some = codec.num_codebooks != codec.total_codebooks
        self.name = encoder_digest(codec) + (f"-{codec.num_codebooks}" if some else "")

    @property
    def _in_pieces(self) -> bool:
        """Return whether a long clip need not be in memory as a whole."""
        return works_in_pieces(self.codec)

    def load(self, manifest: Path, metas: Sequence[AudioMeta]) -> Tokens:
        """Return the codes of clips of a manifest, from the cache as far as it has them."""
        shards = list(self._shards(manifest, metas))
        self._make([shard for shard in shards if not shard[0].exists()], len(metas))
        tensors = [safetensors.torch.load_file(path) for path, _ in shards]
        codes = [clip for part in tensors for clip in part["codes"].split(part["frames"].tolist(), dim=-1)]
        return Tokens(codes, torch.cat([part["lengths"] for part in tensors]))

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
            yield folder / f"{number:05d}-{audio_digest(part)}-2.safetensors", part

    def _make(self, absent: Sequence[tuple[Path, Sequence[AudioMeta]]], total: int) -> None:
        wanted = sum(len(part) for _, part in absent)
        reports = _Reports(total - wanted, total)
        for path, part in absent:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, safetensors.torch.save(self._encode(part, reports)))

    @torch.inference_mode()
    def _encode(self, metas: Sequence[AudioMeta], reports: _Reports) -> dict[str, Tensor]:
        """Return the codes of clips one after the other [K, all frames], and how many frames of each are stored and
        real."""
        made: list[tuple[Tensor, int]] = [(torch.zeros(0), 0)] * len(metas)
        with ThreadPoolExecutor(max(1, self.num_workers), thread_name_prefix="clips") as pool:
            seconds = list(pool.map(self._seconds, metas))
            for group in _groups(seconds):
                if seconds[group[0]] > LONG_S and self._in_pieces:
                    made[group[0]] = self._long(metas[group[0]])
                    reports.more(1)
                    continue
                clips = list(pool.map(self._read, [metas[number] for number in group]))
                for number, clip in zip(group, self._batch(clips), strict=True):
                    made[number] = clip
                reports.more(len(group))
        frames = torch.tensor([codes.shape[-1] for codes, _ in made], device="cpu")
        lengths = torch.tensor([length for _, length in made], device="cpu")
        return {"codes": torch.cat([codes for codes, _ in made], -1), "frames": frames, "lengths": lengths}

    def _batch(self, clips: Sequence[Tensor]) -> Iterator[tuple[Tensor, int]]:
        """Yield the codes [K, T] of each of the clips [C, N], with silence behind, and how many of the frames are
        real."""
        after = round(_SILENCE_S * self.codec.sample_rate)
        longest = max(clip.shape[-1] for clip in clips) + after
        padded = [torch.nn.functional.pad(clip, (0, longest - clip.shape[-1])) for clip in clips]
        encoded = self._encoded(torch.stack(padded).to(next(self.codec.parameters()).device))
        for codes, clip in zip(encoded, clips, strict=True):
            yield self._with_silence(codes, clip.shape[-1])

    def _encoded(self, wav: Tensor) -> Tensor:
        """Turn audio [B, C, N] into what is kept of it [B, K, T], on the CPU."""
        return self.codec.encode(wav)[0].to("cpu", torch.int16)

    def _long(self, meta: AudioMeta) -> tuple[Tensor, int]:
        """Return the same for a clip that is read and encoded in pieces, so that an hour of it takes no more than a
        minute."""
        codec = self.codec
        try:
            rate = audio_info(meta.path).sample_rate
            heard = (wav for wav, _ in audio_pieces(meta.path, LONG_S))
            pieces = convert_pieces(heard, rate, codec.sample_rate, codec.channels)
            samples = 0

            def followed_by_silence() -> Iterator[Tensor]:
                nonlocal samples
                for piece in pieces:
                    samples += piece.shape[-1]
                    yield piece[None].to(next(codec.parameters()).device)
                after = round(_SILENCE_S * codec.sample_rate)
                yield torch.zeros(1, codec.channels, after, device=next(codec.parameters()).device)

            parts = [codes.to("cpu", torch.int16)[0] for codes in encode_pieces(codec, followed_by_silence())]
        except InvalidInput as error:
            return next(self._batch([self._left_out(str(error))]))
        return self._with_silence(torch.cat(parts, dim=-1), samples)

    def _with_silence(self, codes: Tensor, samples: int) -> tuple[Tensor, int]:
        """Return the codes [K, T] of so many samples and a second after them, and how many of the frames are real."""
        length = min(codes.shape[-1], self._frames(samples))
        return codes[:, : length + math.ceil(_SILENCE_S * self.codec.frame_rate)], length

    def _frames(self, samples: int) -> int:
        """Return frames of so many samples; a single one stands for a clip that could not be read."""
        return 0 if samples <= 1 else round(samples / self.codec.sample_rate * self.codec.frame_rate)

    def _seconds(self, meta: AudioMeta) -> float:
        """Return how long a clip is; the manifest may be older than the file."""
        try:
            return audio_info(meta.path).duration
        except InvalidInput:
            return 0.0  # `_read` says why

    def _read(self, meta: AudioMeta) -> Tensor:
        try:
            audio, rate = audio_read(meta.path)
            if audio.numel():
                return convert_audio(audio, rate, self.codec.sample_rate, self.codec.channels)
            return self._left_out(f"{meta.path} holds no audio")
        except (InvalidInput, OutOfMemoryEstimate) as error:
            # One damaged file in a million costs itself and this line, not the run.
            return self._left_out(str(error))

    def _left_out(self, reason: str) -> Tensor:
        """Return what stands for a clip that cannot be used: a single sample [C, 1]."""
        logger.warning("left out: %s", reason)
        return torch.zeros(self.codec.channels, 1, device="cpu")


def _groups(seconds: Sequence[float]) -> Iterator[list[int]]:
    """Yield which clips are encoded at once: few, about equally long, and little audio in all; a long one by itself."""
    group: list[int] = []
    for number in sorted(range(len(seconds)), key=lambda number: seconds[number]):
        longest = seconds[number]  # of those so far and this one
        if group and (len(group) == _BATCH or (len(group) + 1) * longest > _BATCH_S or longest > LONG_S):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def encoder_digest(codec: CompressionModel) -> str:
    """Return twelve letters for the weights that make codes: a codec with another encoder never reads this one's codes,
    while a decoder that was trained further still does."""
    return weights_digest(codec, skip="decoder.")[:12]


def batches(count: int, size: int) -> Iterator[range]:
    """Yield consecutive ranges that cover `count`."""
    return (range(first, min(count, first + size)) for first in range(0, count, size))
