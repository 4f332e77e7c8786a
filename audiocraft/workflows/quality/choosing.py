"""Models on this machine, looked at until one fits a budget: what is not known of them is measured once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from audiocraft.checkpoints.facts import ModelFacts, find_facts
from audiocraft.checkpoints.installed_models import models_here
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, records_of
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_model
from audiocraft.utils.devices import usable_device
from audiocraft.utils.files import file_state
from audiocraft.workflows.quality.budget import Budget, Choice, Offer, busier, choose
from audiocraft.workflows.quality.costs import Cost, CostBook, pace

Tell = Callable[[str], object]
"""Takes a line that a person should read."""
USUAL_MODEL = "musicgen-nano"
"""What stands for the sort of model that is wanted, where nobody names one."""
_PRECISIONS: Mapping[str, tuple[str, ...]] = {"cpu": ("fp32", "int8", "int4"), "cuda": ("fp32", "fp16")}
"""What is worth choosing from on a device, the most exact first."""
_DIFFUSION = "multiband-diffusion"
_BUSY = 1.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """This record says what a choice is made for.

    Args:
        request: what will be made.
        model, precision, takes: those that were said; None leaves them open.
        takes_audio: "melody" or "style", where the request brings such audio.
        spent: seconds of the budget that are gone.
    """

    request: GenerationRequest
    model: str | None = None
    precision: str | None = None
    takes: int | None = None
    takes_audio: str | None = None
    device: str | None = None
    spent: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenModel:
    """This record says what was chosen, loaded.

    Args:
        request: as it was asked for, with the steps and the decoder that were chosen.
        model: by the name and in the precision of `choice`.
        measuring: seconds that measuring took, which do not count.
    """

    choice: Choice
    request: GenerationRequest
    model: GeneratorModel = field(repr=False)
    measuring: float = 0.0


def choose_model(
    budget: Budget, asked: Asked, *, book: CostBook | None = None, tell: Tell = print
) -> ChosenModel:
    """Return the best way to make a request within a budget, with its model loaded. What measuring takes, once on a
    machine, does not count; where the machine is slower now than it was then, that counts.

    Raises:
        InvalidInput: no model here makes what is asked, or none is fast enough.
    """
    began, book = time.perf_counter(), book or CostBook()
    device = usable_device(asked.device)
    known = _candidates(asked, device)
    offers: list[Offer] = []
    models: dict[tuple[str, str], GeneratorModel] = {}
    measuring = 0.0
    choice: Choice | None = None
    for facts, precision in known:
        started = time.perf_counter()
        state = _state(facts)
        cost = book.of(facts.name, precision, device, state)
        if cost is None:
            tell(f"measuring once what {facts.name} in {precision} costs on this machine")
            models.clear()  # one model at a time
            cost, models[facts.name, precision] = book.measure(facts.name, precision, device, state)
            measuring += time.perf_counter() - started
        offers += _offers(facts, precision, cost, loaded=(facts.name, precision) in models)
        try:
            choice = choose(
                budget,
                offers,
                duration=asked.request.duration,
                rows=len(asked.request.prompts),
                spent=asked.spent + time.perf_counter() - began - measuring,
                takes=asked.takes,
            )
            break
        except InvalidInput:
            if (facts, precision) == known[-1]:
                raise
    assert choice is not None
    model = models.get((choice.model, choice.precision)) or load_model(
        choice.model, device=device, precision=choice.precision
    )
    if budget.goal == "seconds":
        gone = asked.spent + time.perf_counter() - began - measuring
        choice = _now(budget, choice, offers, asked, model, gone)
    request = _with(asked.request, choice, budget, model)
    return ChosenModel(choice=choice, request=request, model=model, measuring=measuring)


def _candidates(asked: Asked, device: torch.device) -> list[tuple[ModelFacts, str]]:
    """Return models and precisions, the best first."""
    if asked.model is not None:
        facts = find_facts(asked.model)
        if facts is None:
            facts = replace(find_facts(USUAL_MODEL) or _nothing(), name=asked.model)
        found = [replace(facts, name=asked.model)]
    else:
        usual = find_facts(USUAL_MODEL) or _nothing()
        needs = _needs(asked)
        found = [
            replace(facts, name=name)
            for name, facts in models_here().items()
            if facts.makes == usual.makes and needs <= facts.takes
        ]
    usual_precisions = _PRECISIONS.get(device.type, ("fp32",))
    if asked.precision not in (None, "auto"):
        usual_precisions = (str(asked.precision),)
    pairs = [
        (facts, precision)
        for facts in sorted(found, key=_size, reverse=True)
        for precision in usual_precisions
        if not facts.precisions or precision in facts.precisions
    ]
    if not pairs:
        raise InvalidInput(
            "no model on this machine makes what is asked: name one with --model", field="budget"
        )
    return pairs


def _needs(asked: Asked) -> frozenset[str]:
    """Return what a model must take for the request."""
    request = asked.request
    needs = {asked.takes_audio} if asked.takes_audio else set()
    if request.score.given or request.loop or any(plan is not None for plan in request.plans or ()):
        needs.add("plan")
    if request.prompt_audio is not None:
        needs.add("continuation")
    if request.keep:
        needs.add("keep")
    return frozenset({*needs, *request.controls.given})


def _offers(facts: ModelFacts, precision: str, cost: Cost, *, loaded: bool) -> list[Offer]:
    order = ("int4", "int8", "bf16", "fp16", "fp32")
    whole = Offer(
        model=facts.name,
        precision=precision,
        rank=_size(facts),
        quality=2 * order.index(precision) + 1 if precision in order else 0,
        cost=cost,
        loaded=loaded,
    )
    fewer = _fewer_steps(facts.settings or {})
    if fewer is None:
        return [whole]
    steps, share = fewer
    shorter = replace(cost, first=cost.first * share, further=cost.further * share)
    return [whole, replace(whole, quality=whole.quality - 1, cost=shorter, steps=steps)]


def _fewer_steps(settings: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], float] | None:
    """Return half of the steps of models that refine, and what share of the time they take; None: it has none."""
    if "decoding_steps" in settings:
        steps = tuple(max(1, count // 2) for count in settings["decoding_steps"] or (20, 10, 10, 10))
        return (("decoding_steps", steps),), 0.55
    if "flow_steps" in settings:
        return (("flow_steps", max(1, settings["flow_steps"] // 2)),), 0.55
    return None


def _now(
    budget: Budget, choice: Choice, offers: Sequence[Offer], asked: Asked, model: GeneratorModel, gone: float
) -> Choice:
    """Return `choice`, or fewer takes of the same model where the machine is busier than when it was measured."""
    began = time.perf_counter()
    own = [one for one in offers if (one.model, one.precision) == (choice.model, choice.precision)]
    cost = own[0].cost
    factor = pace(model) / max(1e-9, cost.start + cost.first)
    if factor < _BUSY:
        return choice
    slower = busier([replace(one, loaded=True) for one in own], factor)
    try:
        found = choose(
            budget,
            slower,
            duration=asked.request.duration,
            rows=len(asked.request.prompts),
            spent=gone + time.perf_counter() - began,
            takes=asked.takes,
        )
    except InvalidInput:
        last = min(slower, key=lambda one: one.cost.first)
        seconds = last.cost.seconds(asked.request.duration, len(asked.request.prompts))
        said = f"this machine is {factor:.1f} times slower now than when it was measured, so it takes longer"
        return replace(choice, takes=asked.takes or 1, seconds=seconds, why=said, steps=last.steps)
    return replace(found, why=f"{found.why}; this machine is {factor:.1f} times slower now")


def _with(
    request: GenerationRequest, choice: Choice, budget: Budget, model: GeneratorModel
) -> GenerationRequest:
    """Return `request` with the steps and the decoder that were chosen, where it does not say them."""
    said = {name: value for name, value in choice.steps if not _is_said(request, name)}
    if said:
        request = replace(request, **records_of(said))
    if budget.goal == "best" and request.decoder is None and _has_diffusion(model):
        request = replace(request, decoder=_DIFFUSION)
    return request


def _is_said(request: GenerationRequest, name: str) -> bool:
    return bool(request.masked.given) if name == "decoding_steps" else request.flow.steps is not None


def _has_diffusion(model: GeneratorModel) -> bool:
    """Return whether the released diffusion decoder is on this machine and was made for the codec of this model."""
    facts = find_facts(_DIFFUSION, kind="diffusion")
    fits = (model.sample_rate, model.audio_channels, round(model.frame_rate)) == (32000, 1, 50)
    return facts is not None and facts.where is not None and fits and model.makes_codes


def _size(facts: ModelFacts) -> float:
    """Return bytes of a model's files; how large a network is, as far as it shows before it is read."""
    if facts.where is None:
        return 0.0
    files = facts.where.rglob("*") if facts.where.is_dir() else [facts.where]
    return float(sum(file.stat().st_size for file in files if file.is_file()))


def _state(facts: ModelFacts) -> str:
    """Return what tells the files of a model from others of the same name."""
    if facts.where is None:
        return ""
    files = sorted(facts.where.rglob("*")) if facts.where.is_dir() else [facts.where]
    return " ".join(f"{file.name}:{file_state(file)}" for file in files if file.is_file())


def _nothing() -> ModelFacts:
    return ModelFacts(name="", family=None, kind="lm", makes="music")
