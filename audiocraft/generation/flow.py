"""A piece as a flow: noise becomes the latents of a window along a velocity that is told text, chords, drums and
melody. What is known of a window already, such as the end of the one before, is kept on its straight way there
(Tal et al. 2024, arXiv 2406.10970; Lipman et al. 2023, arXiv 2210.02747)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from audiocraft.generation.computations import Computation, GenerationCoroutine, SharedComputation
from audiocraft.generation.guidance import opposite
from audiocraft.generation.ode import evaluations, integrate
from audiocraft.generation.passes import in_passes
from audiocraft.generation.protocols import RowAttributes
from audiocraft.generation.request import FlowSettings
from audiocraft.generation.session import Session
from audiocraft.generation.windows import Window, at_window, part_of
from audiocraft.modules.conditioners import unconditional
from audiocraft.types import ConditioningAttributes

FrameRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FlowConditions:
    """This record holds what a flow is told, embedded.

    Args:
        source: [B, L, D], of cross-attention.
        frames: [B, T, F], beside the latents; None for a model that is told nothing frame by frame.
        plan: [B, T, D], added to what the latents become; None for a model that takes no plans.
    """

    source: Tensor
    frames: Tensor | None
    plan: Tensor | None = None

    def rows(self, index: slice) -> FlowConditions:
        return FlowConditions(
            self.source[index],
            None if self.frames is None else self.frames[index],
            None if self.plan is None else self.plan[index],
        )

    @classmethod
    def cat(cls, parts: Sequence[FlowConditions]) -> FlowConditions:
        frames = [part.frames for part in parts if part.frames is not None]
        plans = [part.plan for part in parts if part.plan is not None]
        return cls(
            torch.cat([part.source for part in parts]),
            torch.cat(frames) if frames else None,
            torch.cat(plans) if plans else None,
        )


FlowStrand = tuple[Tensor, Tensor, FlowConditions]
"""Latents [B, T, D], times [B], and what they are told."""


class FlowNetwork(Protocol):
    """This protocol says what the loop needs of a network. Nothing of it changes the network."""

    @property
    def latent_dim(self) -> int: ...

    def embed(self, attributes: RowAttributes, frames: int) -> FlowConditions:
        """Embed the conditions of each row, for `frames` frames."""
        ...

    def velocity(self, latents: Tensor, time: Tensor, conditions: FlowConditions) -> Tensor:
        """Run the network: latents [B, T, D] at times [B] give their velocities [B, T, D]."""
        ...

    @property
    def shares_passes(self) -> bool:
        """Return whether strands in one pass become, to the last bit, what they become alone."""
        ...

    def velocities(self, strands: Sequence[FlowStrand]) -> list[Tensor]:
        """Return what `velocity` gives for each strand, in one pass; lengths may differ."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowGuidance:
    """This record says how much the branches of guidance weigh; without any condition it is what makes their sum 1.

    Args:
        full: of what hears everything.
        text: of what hears the text alone.
    """

    full: float
    text: float

    @property
    def weights(self) -> tuple[float, float, float]:
        """Return the weights of the three branches: told everything, told the text alone, told nothing."""
        return self.full, self.text, 1.0 - self.full - self.text


@dataclass(frozen=True, slots=True)
class GuidedFlow:
    """This record holds rows that are ready for the network, in each branch that weighs anything.

    Args:
        conditions: [branches x B, ...], branch by branch.
    """

    network: FlowNetwork
    rows: int
    weights: tuple[float, ...]
    conditions: FlowConditions

    @classmethod
    def prepare(
        cls, network: FlowNetwork, attributes: RowAttributes, guidance: FlowGuidance, frames: int
    ) -> GuidedFlow:
        """Embed what the branches hear, together: as in training, what is not there reads as what its batch has in its
        place, such as silence beside drums. The branch that hears nothing hears what a row denies."""
        asked = list(attributes)
        heard = (asked, unconditional(asked, ("wav", "joint_embed", "symbolic")), opposite(asked))
        chosen = [(w, part) for w, part in zip(guidance.weights, heard, strict=True) if w != 0.0]
        conditions = network.embed([row for _, part in chosen for row in part], frames)
        return cls(network, len(asked), tuple(weight for weight, _ in chosen), conditions)

    def of_row(self, row: int) -> FlowConditions:
        """Return what one row hears in each branch."""
        branches = range(row, len(self.weights) * self.rows, self.rows)
        return FlowConditions.cat([self.conditions.rows(slice(place, place + 1)) for place in branches])

    def combined(self, velocities: Tensor) -> Tensor:
        """Combine velocities of the branches [branches x B, T, D] -> what they say together, [B, T, D]."""
        parts = velocities.split(velocities.shape[0] // len(self.weights))
        total: Tensor = self.weights[0] * parts[0]
        for weight, part in zip(self.weights[1:], parts[1:], strict=True):
            total = total + weight * part
        return total

    def alone(self, latents: Tensor, time: Tensor) -> Tensor:
        """Return the guided velocities [B, T, D] of latents at times [B]; on a CPU what becomes of a row does not
        depend, to the last bit, on how many there are."""
        if latents.device.type == "cpu":
            return _on_cpu([(self, latents, time)])[0]
        branches = len(self.weights)
        repeated = latents.repeat(branches, 1, 1), time.repeat(branches)
        return self.combined(self.network.velocity(*repeated, self.conditions))

    def strands(self, latents: Tensor, time: Tensor) -> list[FlowStrand]:
        """Return each row in all branches."""
        branches = len(self.weights)
        return [
            (
                latents[row : row + 1].expand(branches, -1, -1),
                time[row : row + 1].expand(branches),
                self.of_row(row),
            )
            for row in range(len(latents))
        ]


@dataclass(frozen=True, slots=True)
class EmbedFlow(Computation):
    """This computation embeds the conditions of every row; its answer is a GuidedFlow."""

    in_background: ClassVar[bool] = True

    network: FlowNetwork
    attributes: RowAttributes
    guidance: FlowGuidance
    frames: int

    def run(self, *, shared: bool = False) -> GuidedFlow:
        with torch.inference_mode():
            return GuidedFlow.prepare(self.network, self.attributes, self.guidance, self.frames)


@dataclass(frozen=True, slots=True)
class Velocity(SharedComputation):
    """This computation answers with the guided velocities [B, T, D] of latents [B, T, D] at times [B]."""

    guided: GuidedFlow
    latents: Tensor
    time: Tensor

    def run(self, *, shared: bool = False) -> Tensor:
        return self.guided.alone(self.latents, self.time)

    @property
    def group_key(self) -> Hashable | None:
        """On a CPU all passes are shared where that changes nothing; else each is a step of its own, between which
        others have turns."""
        conditions = self.guided.conditions
        if self.latents.device.type == "cpu":
            network = self.guided.network
            return (id(network), "cpu") if network.shares_passes else None
        return (
            id(self.guided.network),
            self.latents.shape[1:],
            conditions.source.shape[1:],
            conditions.frames is None or conditions.frames.shape[1:],
        )

    @property
    def seat(self) -> object:
        return self.guided

    @classmethod
    def group(cls, computations: Sequence[Self]) -> SharedVelocities:
        return SharedVelocities([computation.guided for computation in computations])


@dataclass(slots=True)
class SharedVelocities:
    """This group puts rows of several requests through one pass of the network; on a CPU where that changes nothing."""

    guided: list[GuidedFlow]
    _conditions: FlowConditions | None = field(default=None, init=False)

    def run(self, computations: Sequence[Velocity]) -> Sequence[Tensor]:
        first = computations[0]
        if first.latents.device.type == "cpu":
            return _on_cpu([(each.guided, each.latents, each.time) for each in computations])
        if self._conditions is None:
            self._conditions = FlowConditions.cat([guided.conditions for guided in self.guided])
        branches = [len(guided.weights) for guided in self.guided]
        latents = [
            each.latents.repeat(count, 1, 1) for each, count in zip(computations, branches, strict=True)
        ]
        times = [each.time.repeat(count) for each, count in zip(computations, branches, strict=True)]
        network = first.guided.network
        made = network.velocity(torch.cat(latents), torch.cat(times), self._conditions)
        parts = made.split([len(part) for part in latents])
        return [guided.combined(part) for guided, part in zip(self.guided, parts, strict=True)]


def _on_cpu(asked: Sequence[tuple[GuidedFlow, Tensor, Tensor]]) -> list[Tensor]:
    """Return the guided velocities of each (flow, latents, times). Torch rounds otherwise for other numbers of rows,
    so each row is a pass of its own, unless the kernels multiply: then rows of any length share them."""
    network = asked[0][0].network
    strands = [strand for guided, latents, time in asked for strand in guided.strands(latents, time)]
    if network.shares_passes:
        made = in_passes(strands, lambda strand: strand[0].shape[0] * strand[0].shape[1], network.velocities)
    else:
        made = [network.velocity(*strand) for strand in strands]
    rows = iter(made)
    return [torch.cat([guided.combined(next(rows)) for _ in latents]) for guided, latents, _ in asked]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowTask:
    """This record holds all that is fixed about a flow before its first window.

    Args:
        attributes: what is asked for at the start; symbolic conditions are those of the whole piece, frame by frame.
        prompt: latents [B, P, D] it starts with; P may be 0.
        frame_rate: of the latents; None where conditions are for the one window that there is, as they are.
        later: what is asked for from a frame on, in ascending order.
        known: latents [B, T, D] of the piece, of which those of the `kept` frames are not made anew.
        noise: [B, T, D] to start from; None draws it from the generators of the rows.
    """

    attributes: RowAttributes
    windows: tuple[Window, ...]
    prompt: Tensor
    frame_rate: float | None
    settings: FlowSettings
    guidance: FlowGuidance
    later: tuple[tuple[int, RowAttributes], ...] = ()
    known: Tensor | None = None
    kept: tuple[FrameRange, ...] = ()
    noise: Tensor | None = None

    def attributes_at(self, frame: int) -> RowAttributes:
        """Return what is asked for at `frame`."""
        found = (attributes for start, attributes in reversed(self.later) if start <= frame)
        return next(found, self.attributes)


def generation(network: FlowNetwork, task: FlowTask, session: Session) -> GenerationCoroutine:
    """Make the coroutine that yields the latents [B, D, n] of the whole piece in order, each once, those of its prompt
    first."""
    session.total = len(task.windows) * evaluations(task.settings)
    if task.prompt.shape[1]:
        yield task.prompt.transpose(1, 2)
    latents, place = task.prompt, 0  # the frames from `place` on, as far as a later window hears them
    for window in task.windows:
        conditions = [
            _at_window(entry, window, task.frame_rate)
            for entry in task.attributes_at(window.start + window.known)
        ]
        guided = yield EmbedFlow(network, conditions, task.guidance, window.length)
        known, mask = _known(task, window, latents[:, window.start - place :])
        noise = _noise(task, window, network.latent_dim, session).to(task.prompt)
        latents = yield from _flow(guided, noise, known, mask, task.settings, session)
        place = window.start
        yield latents[:, window.known :].transpose(1, 2)


def _flow(
    guided: GuidedFlow,
    noise: Tensor,
    known: Tensor,
    mask: Tensor,
    settings: FlowSettings,
    session: Session,
) -> GenerationCoroutine:
    """Go from noise [B, T, D] to latents [B, T, D], which are `known` where `mask` [T] says so."""
    if not bool(mask.any()):
        made: Tensor = yield from integrate(
            noise, lambda latents, time: Velocity(guided, latents, time), settings, session
        )
        return made
    straight, wide = known - noise, mask.view(1, -1, 1).to(noise.device)

    def told(latents: Tensor, time: Tensor) -> Velocity:
        # What is known is where its straight way leads, whatever a solver has made of it.
        on_its_way = noise + time.view(-1, 1, 1) * straight
        return Velocity(guided, torch.where(wide, on_its_way, latents), time)

    made = yield from integrate(noise, told, settings, session)
    return torch.where(wide, known, made)


def _known(task: FlowTask, window: Window, before: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is known of a window, [B, T, D], and which of its frames that is, [T].

    Args:
        before: the latents [B, n, D] that its first frames are.
    """
    rows, _, width = before.shape
    known = before.new_zeros(rows, window.length, width)
    mask = torch.zeros(window.length, dtype=torch.bool, device="cpu")
    if task.known is not None:
        part = task.known[:, window.start : window.stop]
        known[:, : part.shape[1]] = part
        for start, stop in task.kept:
            mask[max(0, start - window.start) : max(0, stop - window.start)] = True
    known[:, : window.known] = before[:, : window.known]
    mask[: window.known] = True
    return known, mask


def _noise(task: FlowTask, window: Window, width: int, session: Session) -> Tensor:
    if task.noise is not None:
        return task.noise[:, window.start : window.stop]
    rows = [torch.randn(window.length, width, generator=own) for own in session.generators]
    return torch.stack(rows)


def _at_window(
    attributes: ConditioningAttributes, window: Window, frame_rate: float | None
) -> ConditioningAttributes:
    """Return the conditions as they are heard in one window."""
    if frame_rate is None:
        return attributes
    moved = at_window(attributes, window, frame_rate)
    wav = {
        name: part_of(condition, window.start / frame_rate, window.length / frame_rate)
        for name, condition in attributes.wav.items()
    }
    symbolic = {
        name: condition._replace(
            frame_chords=None
            if condition.frame_chords is None
            else condition.frame_chords[window.start : window.stop],
            melody=None if condition.melody is None else condition.melody[:, window.start : window.stop],
        )
        for name, condition in moved.symbolic.items()
    }
    return replace(moved, wav=wav, symbolic=symbolic)
