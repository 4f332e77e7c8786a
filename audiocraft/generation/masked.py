"""The loop of MAGNeT: codebook by codebook, all frames at once, and in every pass the least certain spans anew (Ziv et
al. 2024, arXiv 2401.04577). Codes that are known, because they are kept or continued, are read and never masked."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from audiocraft.errors import CheckpointError
from audiocraft.generation.autoregressive import UNKNOWN
from audiocraft.generation.computations import Computation, GenerationCoroutine, SharedComputation
from audiocraft.generation.guidance import GuidedBatch, half_on_gpu
from audiocraft.generation.masked_spans import Spans, share_masked
from audiocraft.generation.passes import in_passes
from audiocraft.generation.protocols import TokenLM
from audiocraft.generation.request import ChosenSampling, Guidance
from audiocraft.generation.sampling import sample
from audiocraft.generation.session import Session
from audiocraft.generation.token_steps import Embed
from audiocraft.generation.windows import TokenTask, Window, at_window, longest_context, moving_wavs
from audiocraft.modules.conditioners import ConditioningAttributes, Fused

_COLDEST = 1e-2  # of an annealed temperature, so that probabilities remain numbers


class MaskedLM(TokenLM, Protocol):
    """This protocol describes a network that predicts masked codes. `stage_logits` never changes it."""

    span_len: int

    def stage_logits(self, codes: Tensor, fused: Fused, stage: int) -> Tensor:
        """Run the network: codes [B, K, T] give the logits [B, T, V] of codebook `stage`."""
        ...

    @property
    def shares_passes(self) -> bool:
        """Return whether strands in one pass become, to the last bit, what they become alone."""
        ...

    def strands_logits(self, strands: Sequence[tuple[Tensor, Fused, int]]) -> list[Tensor]:
        """Return what `stage_logits` gives for each (codes, conditions, stage), in one pass; lengths and stages may
        differ."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """This record says how codes are filled in, nothing left open.

    Args:
        steps: passes for each codebook.
        most_guidance, least_guidance: while everything is masked, and when nothing is.
        anneal: let the temperature fall to 0 over the passes of a codebook.
    """

    steps: tuple[int, ...]
    span_arrangement: str
    sampling: ChosenSampling
    most_guidance: float
    least_guidance: float
    anneal: bool = True

    def guidance_at(self, share: float) -> float:
        """Return the strength of guidance while `share` is masked (section 3.4)."""
        return share * self.most_guidance + (1 - share) * self.least_guidance

    def sampling_at(self, step: int, steps: int) -> ChosenSampling:
        """Return how codes are drawn in pass `step` of `steps`."""
        if not self.anneal or self.sampling.temperature == 0:
            return self.sampling
        temperature = self.sampling.temperature * (1 - (step + 1) / steps)
        return replace(self.sampling, temperature=max(temperature, _COLDEST))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescorer:
    """A rescorer is another network that judges which codes are certain (section 3.3).

    Args:
        lm: predicts the same codes one after the other.
        weight: how much its probabilities count, from 0 to 1, beside those of the masked model.
    """

    lm: Any
    weight: float

    def conditions(self, given: Sequence[ConditioningAttributes]) -> list[ConditioningAttributes]:
        """Return, of what a masked model is told, that which this network knows; everything else is a null
        condition."""
        found = []
        for one in given:
            own = self.lm.condition_provider.null_attributes()
            for kind in ("text", "symbolic"):
                mine, told = getattr(own, kind), getattr(one, kind)
                mine.update({name: told[name] for name in mine if name in told})
            found.append(own)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedTask(TokenTask):
    """This record holds all that is fixed about a generation before its first window.

    Args:
        codes: [B, K, T] of the whole piece, UNKNOWN where they are to be made; all rows know the same frames.
        rescorer: counts where the least certain spans are looked for.
    """

    codes: Tensor
    decoding: Decoding
    rescorer: Rescorer | None = None


def generation(lm: MaskedLM, task: MaskedTask, session: Session) -> GenerationCoroutine:
    """Make the coroutine that yields the frames [B, K, n] of the whole piece in order, each once."""
    codes, decoding = task.codes.clone(), task.decoding
    per_window = sum(decoding.steps)
    session.total = sum(per_window for window in task.windows if bool(_unknown(codes, window).any()))
    guidance = Guidance(coef=1.0 if decoding.most_guidance == decoding.least_guidance == 1.0 else 2.0)
    context, moving = longest_context(task), moving_wavs(lm)
    if task.prompt.shape[-1]:
        yield task.prompt
    for window in task.windows:
        first = window.start + window.known
        part = codes[..., window.start : window.stop]
        if not bool(_unknown(codes, window).any()):
            yield part[..., window.known :].clone()
            continue
        conditions = [
            at_window(entry, window, task.frame_rate, context=context, moving=moving)
            for entry in task.attributes_at(first)
        ]
        guided = yield Embed(lm, conditions, guidance, codes.device)
        judged = None
        if task.rescorer is not None:
            told = task.rescorer.conditions(conditions)
            judged = yield Embed(task.rescorer.lm, told, Guidance(coef=1.0), codes.device)
        codes[..., window.start : window.stop] = yield from filling(
            guided, part, known=window.known, decoding=decoding, session=session, judged=judged,
            weight=task.rescorer.weight if task.rescorer is not None else 0.0,
        )  # fmt: skip


def filling(
    guided: GuidedBatch,
    codes: Tensor,
    *,
    known: int,
    decoding: Decoding,
    session: Session,
    judged: GuidedBatch | None = None,
    weight: float = 0.0,
) -> Generator[Computation | Tensor, Any, Tensor]:
    """Yield the coroutine that fills in the unknown of codes [B, K, T]. It yields the frames after the first `known` as
    soon as nothing before them changes any more, and returns them all, [B, K, T].

    Args:
        judged: a rescorer's network with its conditions.
        weight: how much the rescorer's probabilities count.
    """
    lm: Any = guided.lm
    to_make = (codes[:1] == UNKNOWN).any(dim=1)[0]
    spans = Spans.of(to_make, lm.span_len, decoding.span_arrangement)
    codes = codes.masked_fill(codes == UNKNOWN, lm.special_token_id)
    finished, last_stage = known, codes.shape[1] - 1
    for stage, steps in enumerate(decoding.steps):
        scores = spans.first_scores(len(codes))
        for step in session.steps(0, steps):
            share = share_masked(step, steps)
            chosen, masked = spans.choose(scores, share)
            on_device = masked.to(codes.device)
            codes[:, stage].masked_fill_(on_device, lm.special_token_id)
            sampling = decoding.sampling_at(step, steps)
            refine = Refine(
                guided, codes, stage, decoding.guidance_at(share), sampling, session.generators, on_device
            )
            codes[:, stage], probability = yield refine
            if judged is not None and step + 1 < steps:
                probability = torch.lerp(
                    probability, (yield Judge(judged, codes, stage, probability)), weight
                )
            scores = spans.scores(probability.cpu(), chosen, masked)
            if stage == last_stage and step + 1 < steps:
                ready = int(masked.any(dim=0).to(torch.uint8).argmax())
                if ready > finished:
                    yield codes[..., finished:ready].clone()
                    finished = ready
    if finished < codes.shape[-1]:
        yield codes[..., finished:].clone()
    return codes


@dataclass(frozen=True, slots=True, eq=False)
class Refine(SharedComputation):
    """This computation makes one pass over codes [B, K, T]; its answer is the codes [B, T] of codebook `stage`, those
    of `masked` [B, T] chosen anew, and the probability [B, T] of what was chosen."""

    guided: GuidedBatch
    codes: Tensor
    stage: int
    coef: float
    sampling: ChosenSampling
    generators: Sequence[torch.Generator]
    masked: Tensor

    def run(self, *, shared: bool = False) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            return self.chosen(_logits([self])[0])

    @property
    def group_key(self) -> Hashable | None:
        """Return a key that passes share on a GPU over as many frames, at the same codebook, whose conditions enter in
        the same places; on a CPU all share, where that changes nothing, else each is a step of its own, so that others
        have turns."""
        lm: Any = self.guided.lm
        if self.codes.device.type == "cpu":
            return (id(lm), "cpu") if lm.shares_passes else None
        fused = self.guided.passes[0]
        lengths = [None if part is None else part.shape[1] for part in (fused.prepend, fused.cross)]
        places = (fused.add is None, fused.frames is None, fused.interpolate is None)
        return id(lm), self.stage, self.codes.shape[-1], *lengths, *places

    @property
    def seat(self) -> object:
        return self.guided

    @classmethod
    def group(cls, computations: Sequence[Self]) -> RefineGroup:  # noqa: ARG003
        return RefineGroup()

    def chosen(self, branches: Tensor) -> tuple[Tensor, Tensor]:
        """Turn logits [branches, B, T, V] into the answer: the codes that are chosen, and how certain they are."""
        asked, *null = branches
        logits = null[0] + (asked - null[0]) * self.coef if null else asked
        if not bool((logits < torch.inf).all()):
            raise CheckpointError(
                "the network's logits are not numbers: its weights are damaged, or overflow in this precision; "
                "load the model with another precision, such as fp32"
            )
        codes = sample(logits, self.sampling, self.generators)
        scale = self.sampling.temperature if self.sampling.temperature > 0 else 1.0
        probability = torch.softmax(logits / scale, dim=-1).gather(-1, codes.unsqueeze(-1)).squeeze(-1)
        return torch.where(self.masked, codes, self.codes[:, self.stage]), probability


@dataclass(frozen=True, slots=True, eq=False)
class Judge(Computation):
    """This computation asks what another network thinks of codes [B, K, T]; its answer is the probability [B, T] of
    each code of codebook `stage`, given those that are before it in that network's order, and `otherwise` [B, T] where
    no step of its predicts one."""

    judged: GuidedBatch
    codes: Tensor
    stage: int
    otherwise: Tensor

    def run(self, *, shared: bool = False) -> Tensor:
        lm: Any = self.judged.lm
        rows = []
        with torch.inference_mode(), half_on_gpu(self.codes.device, lm.half_dtype):
            for row, codes in enumerate(
                self.codes.split(1)
            ):  # what a row gets does not depend on its neighbours
                fused = self.judged.passes[0].rows(torch.tensor([row], device="cpu"))
                logits = lm.predictions(codes, fused, keep_only_valid_steps=False).logits[:, self.stage]
                certain = logits.float().softmax(dim=-1)
                rows.append(certain.gather(-1, codes[:, self.stage].unsqueeze(-1)).squeeze(-1))
        found = torch.cat(rows)
        return torch.where(found.isnan(), self.otherwise, found)


class RefineGroup:
    """This group holds passes that are made together; nothing of one outlives it."""

    def run(self, computations: Sequence[Refine]) -> list[tuple[Tensor, Tensor]]:
        with torch.inference_mode():
            found = _logits(computations)
            return [each.chosen(logits) for each, logits in zip(computations, found, strict=True)]


def _logits(computations: Sequence[Refine]) -> list[Tensor]:
    """Return the logits [branches, B, T, V] of each computation's codebook."""
    first = computations[0]
    lm: Any = first.guided.lm
    if first.codes.device.type == "cpu":
        return _on_cpu(lm, computations)
    codes = torch.cat([each.codes.repeat(each.guided.branches, 1, 1) for each in computations])
    with half_on_gpu(codes.device, lm.half_dtype):
        fused = Fused.cat([each.guided.passes[0] for each in computations])
        logits = lm.stage_logits(codes, fused, first.stage).float()
    sizes = [each.guided.rows * each.guided.branches for each in computations]
    parts = zip(logits.split(sizes), computations, strict=True)
    return [part.unflatten(0, (each.guided.branches, -1)) for part, each in parts]


def _on_cpu(lm: Any, computations: Sequence[Refine]) -> list[Tensor]:
    """Return the logits as `_logits` does. Torch rounds otherwise for other numbers of rows, so each row of each
    request is a pass of its own, unless the kernels multiply: then rows of any length and codebook share them."""
    strands = [_strand(each, row) for each in computations for row in range(len(each.codes))]
    if lm.shares_passes:
        made = in_passes(strands, lambda strand: strand[0].shape[0] * strand[0].shape[-1], lm.strands_logits)
    else:
        made = [lm.stage_logits(*strand) for strand in strands]
    rows = iter(made)
    return [torch.stack([next(rows) for _ in each.codes], 1) for each in computations]


def _strand(computation: Refine, row: int) -> tuple[Tensor, Fused, int]:
    """Return codes [branches, K, T] of one row, what they are told, and the codebook that is asked for."""
    guided = computation.guided
    own = torch.arange(row, guided.rows * guided.branches, guided.rows, device="cpu")
    codes = computation.codes[row : row + 1].expand(guided.branches, -1, -1)
    return codes, guided.passes[0].rows(own), computation.stage


def _unknown(codes: Tensor, window: Window) -> Tensor:
    """Return, as bool, which codes of a window are to be made."""
    return codes[:1, :, window.start : window.stop] == UNKNOWN
