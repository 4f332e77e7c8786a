"""Pieces that are not worth hearing are made again: silent, stuck or broken ones, a few times, with other seeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from audiocraft.audio.finishing import find_faults
from audiocraft.config.limits import MOST_TAKES
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.generation.progress import CancelToken, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.generator import GeneratorModel

TAKES, SILENT_TAKES = 8, 16
"""How often a piece is tried, the first time included: where a tone stays, and where nothing is heard at all. Models of
sounds have prompts of which more than half of the takes are silent, and nobody asks for silence."""

Notice = Callable[[str], object]
"""Takes a line that a person should read."""


@runtime_checkable
class FollowsTakes(Protocol):
    """This protocol says what a callback of progress has, where it shows further takes of a piece apart."""

    def retake(self, words: str, number: int) -> ProgressCallback:
        """Return the callback of another take of the piece with these words; `number` is 2 and more."""


_log = logging.getLogger(__name__)
# Seeds of further takes lie far from each other, so that they are not those of other rows of a batch.
_STRIDE, _SEEDS = 1_640_531_527, 1 << 31


class FaultyAudio(AudioCraftError):
    """Every take of a piece was silent or broken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """This record says how much is done for each piece.

    Args:
        takes: of which the best is kept.
        until: when they should be done, in seconds of `time.perf_counter`; None: all takes are made.
    """

    takes: int = 1
    until: float | None = None


ONE_TAKE = Effort()


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """This record says how one piece was chosen.

    Args:
        take: which one was kept, from 1.
        of: how many there were.
        kept: how far each wish was kept in it, 0 to 1.
        totals: the totals of all, in order.
    """

    take: int
    of: int
    kept: Mapping[str, float]
    totals: tuple[float, ...]

    def line(self) -> str:
        """Return "take 3 of 4: tempo 1.00, chords 0.75"."""
        kept = ", ".join(f"{name} {value:.2f}" for name, value in self.kept.items())
        return f"take {self.take} of {self.of}" + (f": {kept}" if kept else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """A take is one row of a result that will be kept.

    Args:
        request: what it was made of, in which it is row `row`, as in the result.
        asked_seed: the seed that was asked for, where this take has another one.
        fault: what is still wrong with it.
    """

    request: GenerationRequest
    result: GenerationResult
    row: int
    asked_seed: int | None = None
    fault: str | None = None

    @property
    def audio(self) -> Tensor:
        """Return the audio [C, N]."""
        return self.result.audio[self.row]


def take_seed(seed: int, number: int) -> int:
    """Return the seed of take `number` of a piece; take 0 is the one that was asked for."""
    return seed if number == 0 else (seed + number * _STRIDE) % _SEEDS


def check_takes_count(takes: int) -> None:
    """Refuse a number of takes that is none.

    Raises:
        InvalidInput: not between 1 and `MOST_TAKES`.
    """
    if isinstance(takes, bool) or not isinstance(takes, int) or not 1 <= takes <= MOST_TAKES:
        raise InvalidInput(
            f"takes must be a whole number from 1 to {MOST_TAKES}, got {takes!r}", field="takes"
        )


def every_take_is(reason: str, title: str) -> FaultyAudio:
    """Return the error of a piece that nothing came of.

    Args:
        title: its words, as the message shows them.
    """
    return FaultyAudio(
        f"{title}: {reason}; so are {SILENT_TAKES - 1} other takes; try another prompt, another seed or another model"
    )


def worthwhile(
    model: GeneratorModel,
    request: GenerationRequest,
    result: GenerationResult,
    row: int,
    *,
    notice: Notice = _log.warning,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Take:
    """Return row `row` of `result`, or another take of it if something is wrong with it.

    Args:
        notice: told of each take that is thrown away, and of a fault that stays.
        progress: of the piece as a whole. Further takes are told to it, if it is a `FollowsTakes`, else to nobody.

    Raises:
        FaultyAudio: all takes were faulty, the last one silent or broken. Where it stands still, the first take is
            kept, with a notice: it may be what was asked for.
    """
    asked = result.seeds[row]
    own = request.rows(row, row + 1)
    words = request.prompt_at(row, 0.0) or ""
    title = repr(words)
    take = first = Take(request=request, result=result, row=row)
    for number in range(1, SILENT_TAKES + 1):
        rate = take.result.sample_rate
        faults = find_faults(take.audio[:, prompt_samples(own, rate) :], rate, music=model.makes_music)
        if faults.reason is None:
            return take
        if number == (SILENT_TAKES if faults.silent or faults.broken else TAKES):
            break
        seed = take_seed(asked, number)
        notice(f"{title} with seed {take.result.seeds[take.row]}: {faults.reason}; trying seed {seed}")
        other = replace(own, seeds=(seed,))
        made = model.run(other, progress=progress_of_take(progress, words, number + 1), cancel=cancel)
        take = Take(request=other, result=made, row=0, asked_seed=asked)
    said = f"{title}: {faults.reason}; so are {number - 1} other takes"
    if faults.silent or faults.broken:
        raise every_take_is(faults.reason or "", title)
    notice(f"{said}; the first one is kept")
    return replace(first, fault=faults.reason)


def progress_of_take(progress: ProgressCallback | None, words: str, number: int) -> ProgressCallback | None:
    """Return who is told how far another take is, where `progress` was told of the first one."""
    return progress.retake(words, number) if isinstance(progress, FollowsTakes) else None


def prompt_samples(request: GenerationRequest, sample_rate: int) -> int:
    """Return how many samples of a piece are the audio that it continues, and not the model's."""
    return round(prompt_seconds(request) * sample_rate)


def prompt_seconds(request: GenerationRequest) -> float:
    """Return how many seconds of a piece are the audio that it continues, and not the model's."""
    if request.prompt_audio is None or request.prompt_sample_rate is None:
        return 0.0
    return request.prompt_audio.shape[-1] / request.prompt_sample_rate
