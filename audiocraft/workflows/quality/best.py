"""Several takes of each piece, of which the one that is most like what was asked is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from audiocraft.generation.progress import CancelToken, Progress, ProgressCallback
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.metrics.embedder import Embedder, load_embedder
from audiocraft.models.generator import GeneratorModel, draw_seeds
from audiocraft.workflows.quality.ranking import Rating, rate_take, wish_of_take
from audiocraft.workflows.takes import Compared, Take, check_takes_count, prompt_samples, take_seed

_ROWS_AT_ONCE = 8  # more rows share little that is worth their memory


@dataclass(frozen=True, kw_only=True, slots=True)
class BestTake:
    """This record holds the take of one row that was kept, and how it was found."""

    take: Take
    compared: Compared


def best_of(
    model: GeneratorModel,
    request: GenerationRequest,
    takes: int,
    *,
    until: float | None = None,
    ear: Embedder | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[BestTake]:
    """Return the best of so many takes of each row of `request`, in the order of its rows. The first take of a row is
    what the request gives without this; the others have the seeds of `take_seed`. Equal ones: the earlier take is
    kept.

    Args:
        until: no further takes are begun that would not be done by then, in seconds of `clock`; the first is always
            made.
        ear: what listens; None loads the bundled embedder.

    Raises:
        InvalidInput: a number of takes that is none.
    """
    check_takes_count(takes)
    ear = ear or load_embedder()
    rows, seeds = len(request.prompts), draw_seeds(request)
    together = max(1, _ROWS_AT_ONCE // rows)
    found: list[list[tuple[Rating, Take]]] = [[] for _ in range(rows)]
    done = 0
    while done < takes:
        count = min(takes - done, together if until is None else max(1, min(together, done)))
        began = clock()
        order = [(row, number) for number in range(done, done + count) for row in range(rows)]
        asked = replace(
            request.picked([row for row, _ in order]),
            seeds=tuple(take_seed(seeds[row], number) for row, number in order),
        )
        result = model.run(asked, progress=_part(progress, done, count, takes), cancel=cancel)
        for place, (row, number) in enumerate(order):
            own = Take(
                request=asked,
                result=result,
                row=place,
                asked_seed=None if number == 0 else seeds[row],
            )
            found[row].append((_rated(model, asked, result, place, ear), own))
        done += count
        for entries in found:  # what was worse is not needed any more
            _forget(entries)
        # A round of twice as many takes does not take more than twice as long.
        coming = min(takes - done, max(1, min(together, done)))
        if until is not None and clock() + (clock() - began) * max(1.0, coming / count) > until:
            break
    return [_best(entries) for entries in found]


def _best(entries: Sequence[tuple[Rating, Take]]) -> BestTake:
    place = max(range(len(entries)), key=lambda at: entries[at][0].total)
    rating, take = entries[place]
    totals = tuple(round(one.total, 4) for one, _ in entries)
    kept = {name: round(value, 4) for name, value in rating.kept.items()}
    return BestTake(take=take, compared=Compared(take=place + 1, of=len(entries), kept=kept, totals=totals))


def _forget(entries: list[tuple[Rating, Take]]) -> None:
    """Keep the audio of the best take only, apart from the batch that it was made in."""
    best = max(range(len(entries)), key=lambda at: entries[at][0].total)
    for place, (rating, take) in enumerate(entries):
        if len(take.result.audio) > 1 or place != best:
            entries[place] = rating, _alone(take, audio=place == best)


def _alone(take: Take, *, audio: bool) -> Take:
    """Return `take` as the only row of a request and a result; without its audio where nobody will hear it."""
    row, result = take.row, take.result
    made = result.audio[row : row + 1]
    alone = replace(
        result,
        audio=made.clone() if audio else made[..., :0].clone(),
        codes=None if result.codes is None else result.codes[row : row + 1].clone(),
        seeds=result.seeds[row : row + 1],
        plans=result.plans[row : row + 1],
        scenes=result.scenes[row : row + 1],
    )
    return replace(take, request=take.request.rows(row, row + 1), result=alone, row=0)


def _rated(
    model: GeneratorModel, request: GenerationRequest, result: GenerationResult, row: int, ear: Embedder
) -> Rating:
    audio: Tensor = result.audio[row][:, prompt_samples(request, result.sample_rate) :]
    wanted = wish_of_take(request.prompt_at(row, 0.0), result.plans[row])
    return rate_take(audio, result.sample_rate, wanted, ear, music=model.makes_music)


def _part(progress: ProgressCallback | None, done: int, count: int, takes: int) -> ProgressCallback | None:
    """Tell `progress` how far all takes are, while some of them are made."""
    if progress is None:
        return None
    told = progress

    def reported(event: Progress) -> None:
        share = (done + count * event.done / event.total) / takes
        told(Progress(done=round(share * 1000), total=1000, elapsed=event.elapsed))

    return reported
