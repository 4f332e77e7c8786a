"""What a machine can make within a budget: a model, a precision, takes and a decoder, chosen by what they cost here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from audiocraft.config.budgets import BEST_TAKES, Budget, parse_budget
from audiocraft.config.limits import MOST_TAKES
from audiocraft.errors import InvalidInput
from audiocraft.workflows.quality.costs import Cost

__all__ = ["Budget", "Choice", "Offer", "busier", "choose", "parse_budget"]

MARGIN = 1.2
"""A piece may take so many times what was measured: machines are busy now and then."""
REAL_TIME = 0.8
"""Seconds that a second of audio may take, for it to come in real time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An offer is one way to make a request.

    Args:
        rank: among models, the more the better: how many numbers the network has.
        quality: of the precision, from 0.
        cost: what it takes on this machine.
        loaded: whether the model is there already.
        steps: settings that make it refine less than usual.
    """

    model: str
    precision: str
    rank: float
    quality: int
    cost: Cost
    loaded: bool = False
    steps: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A choice says what was chosen.

    Args:
        takes: of each piece.
        seconds: what it will take, as measured.
        why: a sentence.
        steps: settings of how much it refines; what is usual is not named.
    """

    model: str
    precision: str
    takes: int
    seconds: float
    why: str
    steps: tuple[tuple[str, Any], ...] = ()

    def line(self) -> str:
        """Return "musicgen-nano, int8, 2 takes, about 4.1 s: ..."."""
        takes = "1 take" if self.takes == 1 else f"{self.takes} takes"
        steps = "".join(f", {name} {value}" for name, value in self.steps)
        return f"{self.model}, {self.precision}{steps}, {takes}, about {self.seconds:.1f} s: {self.why}"


def choose(
    budget: Budget,
    offers: Sequence[Offer],
    *,
    duration: float,
    rows: int,
    spent: float = 0.0,
    takes: int | None = None,
) -> Choice:
    """Return the best that fits: the largest model, then the most exact precision, then as many takes as there is time
    for.

    Args:
        duration: seconds of audio of each of `rows` pieces.
        spent: seconds of the budget that are gone.
        takes: where it was said how many.

    Raises:
        InvalidInput: there is nothing to choose from, or nothing fits; the message says what would.
    """
    if not offers:
        raise InvalidInput(
            "no model on this machine makes what is asked: name one with --model", field="budget"
        )
    ordered = sorted(offers, key=lambda one: (one.rank, one.quality), reverse=True)
    if budget.goal == "best":
        best = ordered[0]
        count = takes or BEST_TAKES
        return _choice(
            best, count, duration, rows, "the largest model here, exact, and the best of its takes"
        )
    if budget.goal == "realtime":
        return _in_real_time(ordered, duration, rows, takes)
    left = budget.seconds - spent
    fitting = [one for one in ordered if _seconds(one, takes or 1, duration, rows) * MARGIN <= left]
    if not fitting:
        fastest = min(ordered, key=lambda one: _seconds(one, takes or 1, duration, rows))
        needed = spent + _seconds(fastest, takes or 1, duration, rows) * MARGIN
        raise InvalidInput(
            f"{duration:g} s of audio take about {needed:.1f} s here with {fastest.model} in {fastest.precision}, the "
            f"fastest: give it that budget, or ask for a shorter piece",
            field="budget",
        )
    first = fitting[0]
    count = takes or 1
    while (
        takes is None and count < MOST_TAKES and _seconds(first, count + 1, duration, rows) * MARGIN <= left
    ):
        count += 1
    why = f"the most that {budget.seconds:g} s allow"
    if first is not ordered[0]:
        above = ordered[0]
        why += f"; {above.model} in {above.precision} takes {_seconds(above, 1, duration, rows):.1f} s"
    return _choice(first, count, duration, rows, why)


def busier(offers: Sequence[Offer], factor: float) -> list[Offer]:
    """Return `offers` on a machine that is so many times slower now than when it was measured."""
    return [replace(one, cost=one.cost.times(max(1.0, factor))) for one in offers]


def _in_real_time(ordered: Sequence[Offer], duration: float, rows: int, takes: int | None) -> Choice:
    def pace(one: Offer) -> float:
        return one.cost.of_audio(rows * (takes or 1)) / REAL_TIME

    fitting = [one for one in ordered if pace(one) <= 1]
    if not fitting:
        fastest = min(ordered, key=pace)
        raise InvalidInput(
            f"no model here is fast enough: a second of audio takes {fastest.cost.of_audio(rows):.2f} s with "
            f"{fastest.model} in {fastest.precision}",
            field="budget",
        )
    first = fitting[0]
    why = f"a second of audio takes {first.cost.of_audio(rows):.2f} s"
    return _choice(first, takes or 1, duration, rows, why)


def _choice(one: Offer, takes: int, duration: float, rows: int, why: str) -> Choice:
    return Choice(
        model=one.model,
        precision=one.precision,
        takes=takes,
        seconds=_seconds(one, takes, duration, rows),
        why=why,
        steps=one.steps,
    )


def _seconds(one: Offer, takes: int, duration: float, rows: int) -> float:
    """Return what so many takes of `rows` pieces take, the model's loading and the listening included."""
    load = 0.0 if one.loaded else one.cost.load
    return load + one.cost.seconds(duration, rows * takes, heard=takes > 1)
