"""How many codebooks each block of a file has, when a size, a bit rate or a quality was asked for.

Codebooks of a residual codec refine each other, so that the first k of them are what an encoder of k codebooks makes. A
size or a bit rate is filled where it helps most: with the codebooks that add most to the frames for their bytes. A
quality is measured: the fewest codebooks of each block with which its log-mel distance is small enough.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audiocraft.codec import checks, container
from audiocraft.codec.blocks import pack_block
from audiocraft.codec.coding import Decoder
from audiocraft.codec.container import AcxHeader
from audiocraft.codec.entropy import PACKED
from audiocraft.codec.known import KnownCodec
from audiocraft.codec.streams import CodeFrames, network_of
from audiocraft.codec.writer import WORTH_A_COPY, AcxWriter, Notes
from audiocraft.errors import InvalidInput
from audiocraft.metrics.reconstruction import log_mel_distance

# Samples below which a spectrum would be of padding alone.
_SHORTEST = 2048
_BOUNDS = {"bitrate": (0.0, 1e6), "target_mel": (0.0, 200.0), "quality": (0, 10)}
# Blocks up to which it is tried out how large a file becomes with tables of its own.
_SHORT = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """This record says how much a file may take; one of these, or nothing for all codebooks.

    Args:
        codebooks: of every block.
        bitrate: kilobits per second, the whole file over its duration.
        size: bytes of the whole file.
        target_mel: decibels of log-mel distance that no block should exceed (see `metrics.reconstruction`).
        quality: 0 to 10: the tenths of what all codebooks gain over one in log-mel distance that each block keeps.
    """

    codebooks: int | None = None
    bitrate: float | None = None
    size: int | None = None
    target_mel: float | None = None
    quality: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidInput(
                f"{given[0]} and {given[1]} both say how large a file is; give one", field=given[1]
            )
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None:
                checks.number(value, name, least=least, most=most)
        for name in ("codebooks", "size"):
            value = getattr(self, name)
            if value is not None:
                checks.whole(value, name, least=1)

    @property
    def is_adaptive(self) -> bool:
        """Return whether blocks may have different numbers of codebooks."""
        return any(value is not None for value in (self.bitrate, self.size, self.target_mel, self.quality))


@dataclass(frozen=True, slots=True)
class Chosen:
    """This record holds the codebooks of each block, and the log-mel distance in decibels where it was measured.

    Args:
        distance: mean over all blocks.
        missed: the largest of a block that is farther than was asked for, whatever is done.
    """

    codebooks: list[int]
    distance: float | None = None
    missed: float | None = None


class _Nowhere:
    """This is a sink for a file of which only the size counts."""

    def write(self, content: bytes, /) -> object:
        return len(content)


class Chooser:
    """A chooser chooses how many codebooks each block of one file gets.

    Args:
        profile: the highest profile of entropy coding that the file may use.
        notes: the tags and the cover that it will have.
        report: called with the share of the work that is done.
    """

    def __init__(
        self,
        known: KnownCodec,
        header: AcxHeader,
        *,
        profile: int,
        notes: Notes,
        report: Callable[[float], None],
    ) -> None:
        self._known, self._header, self._profile, self._report = known, header, profile, report
        self._notes = notes

    def choose(
        self, rate: Rate, blocks: Sequence[CodeFrames], reference: Callable[[], Iterable[Tensor]]
    ) -> Chosen:
        """Return how many codebooks each block has.

        Args:
            blocks: with all codebooks.
            reference: the audio [C, n] at the rate of the codec, in pieces.
        """
        if rate.size is not None:
            return self._within(rate.size, blocks, "size", "")
        if rate.bitrate is not None:
            if not blocks:
                return Chosen([])  # no rate is too low for silence that does not last
            seconds = (self._header.samples or 0) / self._header.source_rate
            return self._within(
                int(rate.bitrate * 125 * seconds), blocks, "bitrate", f"{rate.bitrate:g} kb/s, which are "
            )
        return self._good_enough(rate, self._distances(blocks, reference()), blocks)

    # ------------------------------------------------------------------ bytes

    def _within(self, most: int, blocks: Sequence[CodeFrames], field: str, said: str) -> Chosen:
        sizes = [self._sizes(block, number / max(1, len(blocks))) for number, block in enumerate(blocks)]
        total = self._overhead(len(blocks)) + sum(of_block[0] for of_block in sizes)
        uniform = self._uniform(blocks)
        least = min([total, *uniform[:1]])
        if least > most:
            raise self._too_small(most, least, field, said)
        fitting = sum(
            size <= most for size in uniform
        )  # tables take less with each codebook that is left out
        if total > most:
            return Chosen([fitting] * len(blocks))
        chosen, waiting = [1] * len(blocks), list[tuple[float, int]]()
        gains = [self._gains(block) for block in blocks]

        def offer(number: int) -> None:
            count = chosen[number]
            if count < len(sizes[number]):
                added = max(1, sizes[number][count] - sizes[number][count - 1])
                heapq.heappush(waiting, (-gains[number][count] / added, number))

        for number in range(len(blocks)):
            offer(number)
        while waiting:
            _, number = heapq.heappop(waiting)
            count = chosen[number]
            added = sizes[number][count] - sizes[number][count - 1]
            if total + added <= most:
                total, chosen[number] = total + added, count + 1
                offer(number)
        return Chosen([fitting] * len(blocks) if fitting * len(blocks) > sum(chosen) else chosen)

    def _too_small(self, most: int, least: int, field: str, said: str) -> InvalidInput:
        header = self._header
        rate = f", {least * 8e-3 * header.source_rate / header.samples:.3g} kb/s" if header.samples else ""
        notes = sum(map(len, self._notes.chunks()))
        beside = f", of which tags and cover take {notes}" if notes else ""
        return InvalidInput(
            f"{field}: {said}{most} bytes were asked for, and with one codebook the file has {least}{rate}{beside}; "
            "ask for that or more",
            field=field,
        )

    def _overhead(self, blocks: int) -> int:
        """Return bytes of a file beside its blocks, to the byte; tables that a file has of its own only make it
        smaller."""
        header = container.FRAME.size + len(self._header.pack())
        before = len(container.MAGIC) + header + sum(map(len, self._notes.chunks()))
        index = container.FRAME.size + len(container.pack_index(before if blocks else 0, []))
        return before + (header if blocks >= WORTH_A_COPY else 0) + index + container.END_BYTES

    def _sizes(self, block: CodeFrames, done: float) -> list[int]:
        """Return bytes of a block with 1, 2, ... codebooks: of its chunk, and of its number in the index."""
        self._report(done)
        found = list[int]()
        for count in range(1, self._header.codebooks + 1):
            payload = pack_block(block.first(count), self._header, self._known.tables, profile=self._profile)
            size = container.FRAME.size + len(payload)
            found.append(size + len(container.pack_index(size, [])))
        return found

    def _uniform(self, blocks: Sequence[CodeFrames]) -> list[int]:
        """Return the bytes of whole files with 1, 2, ... codebooks in every block, where those may have tables of their
        own: that is a large share of a short file. Others are as large as their parts."""
        if self._known.tables is not None or self._profile == PACKED or not 0 < len(blocks) <= _SHORT:
            return []
        found = list[int]()
        for count in range(1, self._header.codebooks + 1):
            writer = AcxWriter(
                _Nowhere(), replace(self._header, codebooks=count), notes=self._notes, profile=self._profile
            )
            for block in blocks:
                writer.add_block(block.first(count))
            found.append(writer.finish(self._header.samples or 0))
        return found

    def _gains(self, block: CodeFrames) -> list[float]:
        """Return how much each codebook adds to the frames of a block: the energy of what it says."""
        network, found, before = network_of(self._known.codec), list[float](), None
        codes = block.codes.to(next(network.parameters()).device)
        with torch.inference_mode():
            for count in range(1, self._header.codebooks + 1):
                latent = network.decode_latent(codes[:, :count])
                found.append(float((latent if before is None else latent - before).square().sum()))
                before = latent
        return found

    # ------------------------------------------------------------------ decibels

    def _good_enough(self, rate: Rate, distances: list[list[float]], blocks: Sequence[CodeFrames]) -> Chosen:
        chosen, reached, frames, missed = list[int](), 0.0, 0, None
        for found, block in zip(distances, blocks, strict=True):
            best, first = min(found), found[0]
            limit = rate.target_mel
            if limit is None:
                limit = first + (best - first) * (rate.quality or 0.0) / 10
            count = next(
                (count for count, distance in enumerate(found, 1) if distance <= limit + 1e-9),
                1 + found.index(best),
            )
            chosen.append(count)
            reached += found[count - 1] * block.frames
            frames += block.frames
            if rate.target_mel is not None and best > limit + 1e-9:
                missed = best if missed is None else max(missed, best)
        return Chosen(chosen, reached / frames if frames else 0.0, missed)

    def _distances(self, blocks: Sequence[CodeFrames], reference: Iterable[Tensor]) -> list[list[float]]:
        """Return the log-mel distance of each block with 1, 2, ... codebooks."""
        header = self._header
        size = header.block_frames // header.unit_frames * header.unit_samples
        counts = range(1, header.codebooks + 1)
        versions = [_regrouped(self._decoded(blocks, count), size) for count in counts]
        found = []
        for number, wanted in zip(range(len(blocks)), _regrouped(reference, size), strict=False):
            self._report(number / len(blocks))
            found.append([_distance(next(version), wanted, header.codec_rate) for version in versions])
        while len(found) < len(blocks):  # a last frame of which the audio has less than a sample
            found.append([0.0] * header.codebooks)
        return found

    def _decoded(self, blocks: Sequence[CodeFrames], count: int) -> Iterator[Tensor]:
        decoder = Decoder(self._known.codec, self._header.codec_rate, self._header.channels)
        for block in blocks:
            yield decoder.push(block.first(count))
        yield decoder.finish()


def _distance(found: Tensor, wanted: Tensor, sample_rate: int) -> float:
    length = min(found.shape[-1], wanted.shape[-1])
    pad = max(0, _SHORTEST - length)
    pairs = [
        tuple(torch.nn.functional.pad(row[:length], (0, pad)) for row in pair)
        for pair in zip(found, wanted, strict=True)
    ]
    return sum(log_mel_distance(a, b, sample_rate) for a, b in pairs) / len(pairs)


def _regrouped(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield pieces [C, n] of any length as pieces of one length, the last one shorter."""
    held: Tensor | None = None
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=-1)
        while held.shape[-1] >= size:
            yield held[:, :size]
            held = held[:, size:]
    if held is not None and held.shape[-1]:
        yield held
