"""Generations that share the steps of one network. They join and leave between any two steps, and each gets the
codes that it would get alone: the network sees the rows of all, everything else is each one's own.

    step           1  2  3  4  5  6  7  8  9
    A, guided      p  +  +  +  +  +  .           p: a part of a prefill, which the others' steps are between
    B, joins late           p  p  +  +  +  +     +: a shared step
    C, cancelled      p  +  x                    x: gone before the next step
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audiocraft.generation.guidance import Guided, half_on_gpu, prepare
from audiocraft.generation.protocols import SharedState, TokenLM
from audiocraft.generation.request import Sampling
from audiocraft.generation.sampling import choose
from audiocraft.generation.steps import PREFILL_STEPS, Ask, Embed, Generation, Predict
from audiocraft.modules.conditioners import Fused


@dataclass(eq=False, slots=True)
class Member:
    """One generation in a batch.

    Args:
        on_frames: called with the frames [B, K, n] as they are finished.
        on_end: called once: with None after the last frames, or with the error that ended it.
    """

    generation: Generation
    on_frames: Callable[[Tensor], None]
    on_end: Callable[[Exception | None], None]
    embedding: Future[Guided] | None = None
    waiting: Predict | None = None
    unread: deque[Tensor] = field(default_factory=deque)
    shared: Shared | None = None

    def cancel(self) -> None:
        """Let go of everything, without a word."""
        self.generation.close()
        self.embedding = self.waiting = self.shared = None
        self.unread.clear()


@dataclass(frozen=True, slots=True)
class Shared:
    """A window that has read its beginning, ready for steps with others.

    Args:
        fused: the conditions of its steps, without those of its beginning.
        state: of its own rows.
    """

    guided: Guided
    fused: Fused
    state: SharedState
    capacity: int

    @property
    def rows(self) -> int:
        return self.guided.rows * self.guided.versions

    @property
    def places(self) -> tuple[bool, ...]:
        """Where conditions enter; generations that differ in it cannot share a step."""
        return tuple(
            value is not None for value in (self.fused.add, self.fused.frames, self.fused.interpolate)
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Members that share their steps, put together once for as long as they stay the same."""

    members: tuple[Member, ...]
    windows: tuple[Shared, ...]
    fused: Fused
    state: Any
    padding: int

    @classmethod
    def of(cls, members: Sequence[Member], fewest_rows: int, device: torch.device) -> Group:
        windows = tuple(member.shared for member in members if member.shared is not None)
        assert len(windows) == len(members)
        padding = max(0, fewest_rows - sum(window.rows for window in windows))
        length = max(window.capacity for window in windows)
        parts = [stretched(window, length) for window in windows]
        if padding:
            parts.append(parts[0].rows(torch.zeros(padding, dtype=torch.long, device=device)))
        state = windows[0].state.together([window.state for window in windows], padding, length=length)
        return cls(tuple(members), windows, Fused.cat(parts), state, padding)


class Batch:
    """Runs generations on one network. It belongs to one thread, which calls `turn` until nothing is left.

    Args:
        executor: embeds conditions, so that the steps of others go on meanwhile; None does it in between.
        wake: called, from any thread, when there is something to do again.
    """

    def __init__(
        self,
        lm: TokenLM,
        device: torch.device,
        executor: Executor | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.lm = lm
        self.device = device
        self.executor = executor
        self.wake = wake
        self._members: list[Member] = []
        self._groups: list[Group] | None = []

    def __len__(self) -> int:
        return len(self._members)

    @property
    def busy(self) -> bool:
        """Whether a turn has something to do: not while all wait for the executor, or there are none."""
        return any(member.embedding is None or member.embedding.done() for member in self._members)

    def add(self, member: Member) -> None:
        """Let `member` join; it begins at the next turn."""
        self._members.append(member)
        self._advance(member, None)

    def remove(self, member: Member) -> None:
        """Let `member` go at once, without a last word to it."""
        if member in self._members:
            self._members.remove(member)
            self._regroup(member)
        member.cancel()

    @torch.inference_mode()
    def turn(self) -> None:
        """Let each member come one step further, or if it reads its beginning, one of them by one part."""
        for member in [member for member in self._members if member.embedding is not None]:
            if member.embedding is not None and member.embedding.done():
                self._embedded(member, member.embedding)
        reading = next((member for member in self._members if member.unread), None)
        if reading is not None:
            self._try([reading], partial(self._read, reading))
            if reading in self._members and reading.unread:  # the next turn is another one's
                self._members.remove(reading)
                self._members.append(reading)
        for group in self._current_groups():
            self._try(group.members, partial(self._step, group))

    # ------------------------------------------------------------------ what members ask for

    def _advance(self, member: Member, answer: Any) -> None:
        """Send `answer` and take up what the member asks for next; its frames are handed on."""
        try:
            ask: Ask = member.generation.send(answer)
            while isinstance(ask, Tensor):
                member.on_frames(ask)
                ask = member.generation.send(None)
        except StopIteration:
            self._end(member, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this member's alone
            self._end(member, error)
        else:
            self._take_up(member, ask)

    def _take_up(self, member: Member, ask: Embed | Predict) -> None:
        if isinstance(ask, Predict):
            member.waiting = ask
            if member.shared is None:  # the beginning, or a network that does not share
                member.unread.extend(ask.codes.split(PREFILL_STEPS, dim=-1))
            return
        if member.shared is not None:  # a window is over
            self._regroup(member)
            member.shared = None
        member.waiting = None
        if self.executor is not None:
            member.embedding = self.executor.submit(self._embed, ask)
            member.embedding.add_done_callback(lambda _: self.wake())
        else:
            member.embedding = Future()
            try:
                member.embedding.set_result(self._embed(ask))
            except Exception as error:  # noqa: BLE001 - the member is told
                member.embedding.set_exception(error)

    @torch.inference_mode()
    def _embed(self, ask: Embed) -> Guided:
        # Both passes of guidance in two steps are rows of one here: the codes are the same.
        return prepare(self.lm, ask.attributes, replace(ask.guidance, two_step=False), device=self.device)

    def _embedded(self, member: Member, embedding: Future[Guided]) -> None:
        member.embedding = None
        error = embedding.exception()
        if error is None:
            self._advance(member, embedding.result())
        else:
            self._end(member, error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _end(self, member: Member, error: Exception | None) -> None:
        self.remove(member)
        member.on_end(error)

    def _try(self, members: Iterable[Member], work: Callable[[], None]) -> None:
        """Do `work`, of which only `members` suffer if it fails."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - each of them is told
            for member in members:
                if member in self._members:
                    self._end(member, error)

    # ------------------------------------------------------------------ the network

    def _read(self, member: Member) -> None:
        """Feed one part of a window's beginning, as it would be alone."""
        ask = member.waiting
        assert ask is not None
        guided = ask.guided
        if not ask.states:
            ask.states.extend(guided.open(ask.capacity))
        logits = guided.logits(member.unread.popleft(), ask.states)
        if member.unread:
            return
        chosen = choose(logits, ask.sampling, ask.generators)
        state = ask.states[0]
        if isinstance(state, SharedState):
            if guided.padded_rows > guided.rows * guided.versions:
                state = ask.states[0] = state.first_rows(guided.rows * guided.versions)
            rows = slice(0, guided.rows * guided.versions)
            fused = replace(guided.passes[0].rows(rows), prepend=None, cross=None)
            member.shared = Shared(guided, fused, state, ask.capacity)
            self._groups = None
        self._advance(member, chosen)

    def _step(self, group: Group) -> None:
        """One step of the network for all members of a group."""
        asks = [member.waiting for member in group.members]
        codes = [ask.codes.repeat(ask.guided.versions, 1, 1) for ask in asks if ask is not None]
        if group.padding:
            codes.append(codes[0][:1].expand(group.padding, -1, -1))
        with half_on_gpu(self.device, self.lm.half_dtype):
            logits = self.lm.logits(torch.cat(codes), group.fused, group.state)[:, :, -1].float()
        parts = logits.split(
            [*(window.rows for window in group.windows), *[group.padding] * bool(group.padding)]
        )
        combined = [window.guided.combine(part) for window, part in zip(group.windows, parts, strict=False)]
        chosen = choose_each(combined, [ask for ask in asks if ask is not None])
        for member, codes_of in zip(group.members, chosen, strict=True):
            if member in self._members:  # an event's handler may have let others go
                self._advance(member, codes_of)

    def _current_groups(self) -> list[Group]:
        """Members that are ready for a step, together where their conditions enter in the same places."""
        if self._groups is None:
            by_places: dict[tuple[bool, ...], list[Member]] = {}
            for member in self._members:
                if member.shared is not None:
                    by_places.setdefault(member.shared.places, []).append(member)
            self._groups = [
                Group.of(members, self.lm.fewest_rows, self.device) for members in by_places.values()
            ]
        return self._groups

    def _regroup(self, leaving: Member) -> None:
        if leaving.shared is not None:
            self._groups = None


def choose_each(logits: Sequence[Tensor], asks: Sequence[Predict]) -> list[Tensor]:
    """logits [B, K, V] of each ask -> codes [B, K] of each; those with the same settings are chosen at once."""
    alike: dict[Sampling, list[int]] = {}
    for index, ask in enumerate(asks):
        alike.setdefault(ask.sampling, []).append(index)
    chosen: dict[int, Tensor] = {}
    for sampling, places in alike.items():
        generators = [generator for index in places for generator in asks[index].generators]
        codes = choose(torch.cat([logits[index] for index in places]), sampling, generators)
        chosen.update(zip(places, codes.split([len(logits[index]) for index in places]), strict=True))
    return [chosen[index] for index in range(len(asks))]


def stretched(window: Shared, length: int) -> Fused:
    """Conditions of a window whose steps are counted among `length`: what is stretched over its own length is laid
    out step by step first."""
    condition = window.fused.interpolate
    if condition is None:
        return window.fused
    steps = torch.arange(length, device=condition.device).clamp(max=window.capacity - 1)
    places = (steps * condition.shape[1]).div(window.capacity, rounding_mode="floor")
    return replace(window.fused, interpolate=condition[:, places])
