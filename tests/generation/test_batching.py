"""Whoever shares the steps, whenever they come and go: each generation gets the codes that it gets alone."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.errors import Cancelled, InvalidInput
from audiocraft.generation.batching import ActiveGeneration, Batch
from audiocraft.generation.computations import run_alone
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import Guidance, Sampling
from audiocraft.generation.session import Session
from audiocraft.generation.windows import TokenTask, generation, plan_windows
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider, ParallelPatternProvider
from audiocraft.modules.conditioners import (
    BagOfWordsConditioner,
    ConditionFuser,
    ConditioningProvider,
    LUTConditioner,
)
from audiocraft.modules.conditioners.score import ScoreConditioner
from audiocraft.modules.packing import pack_model
from audiocraft.types import ConditioningAttributes, ScorePlan, SymbolicCondition

K, V, D = 4, 40, 32
CPU = torch.device("cpu")
FUSERS = {
    "frames": {"sum": ["text"], "frames": ["plan"]},
    "cross": {"cross": ["text"], "ignore": ["plan"]},
    "prepend": {"prepend": ["text"], "sum": ["plan"]},
    "stretch": {"sum": ["text"], "input_interpolate": ["plan"]},
    "both": {"cross": ["text"], "prepend": ["plan"]},
}
WORDS = "sad happy piano rock drums loud slow bright".split()


def build(fusing: str, **options: Any) -> LMModel:
    methods = FUSERS[fusing]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = fusing in ("cross", "prepend", "both")
        dim = options.get("dim", D)
        text = LUTConditioner(64, 8, dim, "whitespace") if words else BagOfWordsConditioner(64, 8, dim)
        lookup = fusing == "prepend"
        plan = LUTConditioner(64, 8, dim, "noop") if lookup else ScoreConditioner(dim, frame_rate=10)
        settings: dict[str, Any] = {
            "pattern_provider": DelayedPatternProvider(K),
            "n_q": K, "card": V, "dim": D, "num_heads": 4, "num_layers": 2, "norm_first": True, "causal": True,
            "custom": True, "dropout": 0.0, "cross_attention": "cross" in methods, "weight_init": "gaussian",
        }  # fmt: skip
        lm = LMModel(
            condition_provider=ConditioningProvider({"text": text, "plan": plan}),
            fuser=ConditionFuser(methods),
            **(settings | options),
        ).eval()
        for parameter in lm.parameters():  # far from uniform, so that what a request is told matters
            parameter.data *= 3
        return lm


def attributes(rng: random.Random, duration: float) -> ConditioningAttributes:
    text = " ".join(rng.choices(WORDS, k=rng.randrange(6))) or None
    plan = ScorePlan(tempo=rng.randrange(60, 180), chords=((0.0, "Am"), (0.7, "F")), duration=duration)
    return ConditioningAttributes(
        text={"text": text, "plan": text}, symbolic={"plan": SymbolicCondition(plan=plan)}
    )


def some_piece(rng: random.Random, *, prompts: bool = True) -> TokenTask:
    """Anything that may be asked for, of one to three rows, in one to four windows of two seconds."""
    rows, total = rng.choice((1, 1, 2, 3)), rng.randrange(3, 32)
    prompt = rng.randrange(total) if prompts and rng.random() < 0.4 else 0
    codes = torch.randint(V, (rows, K, prompt), generator=torch.Generator().manual_seed(rng.randrange(99)))
    return TokenTask(
        attributes=[attributes(rng, total / 10) for _ in range(rows)],
        windows=plan_windows(
            total, context=min(total, 20), stride=rng.randrange(5, 15) if total > 20 else 1, prompt=prompt
        ),
        prompt=codes,
        frame_rate=10.0,
        sampling=Sampling(
            use_sampling=rng.random() < 0.8,
            top_k=rng.choice((0, 5, 250)),
            top_p=rng.choice((0.0, 0.0, 0.8)),
            temperature=rng.choice((1.0, 0.7)),
        ),
        guidance=Guidance(coef=rng.choice((1.0, 3.0, 3.0)), two_step=rng.random() < 0.2),
    )


@dataclass
class Owner:
    """Who asked for a piece."""

    lm: LMModel
    task: TokenTask
    seed: int
    frames: list[Tensor] = field(default_factory=list)
    ends: list[Exception | None] = field(default_factory=list)
    token: CancelToken = field(default_factory=CancelToken)

    def session(self) -> Session:
        return Session.open(range(self.seed, self.seed + len(self.task.prompt)), cancel=self.token)

    def alone(self) -> Tensor:
        return torch.cat(list(run_alone(generation(self.lm, self.task, self.session()))), -1)

    def member(self) -> ActiveGeneration:
        return ActiveGeneration(
            generation(self.lm, self.task, self.session()), self.frames.append, self.ends.append
        )

    def check(self, alone: Tensor) -> None:
        assert self.ends == [None]
        assert torch.equal(torch.cat(self.frames, -1), alone)


def run_all(batch: Batch, owners: list[Owner], rng: random.Random) -> None:
    """Let everybody join at random steps, at least one right away."""
    waiting = list(owners)
    while waiting or len(batch):
        while waiting and (not len(batch) or rng.random() < 0.15):
            batch.add(waiting.pop().member())
        batch.step()


@pytest.mark.parametrize("fusing", FUSERS)
def test_together_is_alone(fusing: str) -> None:
    rng = random.Random(fusing)
    lm = build(fusing)
    owners = [Owner(lm, some_piece(rng), seed) for seed in range(8)]
    alone = [owner.alone() for owner in owners]
    run_all(Batch(), owners, rng)
    for owner, codes in zip(owners, alone, strict=True):
        owner.check(codes)


@pytest.mark.parametrize(
    "options",
    [
        {"positional_embedding": "rope"},
        {"positional_embedding": "sin_rope", "past_context": 7},
        {"kv_repeat": 2, "num_layers": 1},
        {"pattern_provider": ParallelPatternProvider(K)},
        {"norm_first": False, "attention_as_float32": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_whatever_the_network(options: dict[str, Any]) -> None:
    rng = random.Random(str(sorted(options)))
    lm = build("frames", **options)
    owners = [Owner(lm, some_piece(rng), seed) for seed in range(6)]
    alone = [owner.alone() for owner in owners]
    run_all(Batch(), owners, rng)
    for owner, codes in zip(owners, alone, strict=True):
        owner.check(codes)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("fusing", ["frames", "both"])
def test_in_the_kernels_of_the_cpu(fusing: str, precision: str) -> None:
    """Whose results for a row must not depend on the rows beside it."""
    rng = random.Random(fusing + precision)
    lm = build(fusing, dim=64, num_heads=2)
    if precision != "fp32":
        pack_model(lm.transformer, lm.linears, precision)
    owners = [Owner(lm, some_piece(rng), seed) for seed in range(4)]
    alone = [owner.alone() for owner in owners]
    run_all(Batch(), owners, rng)
    for owner, codes in zip(owners, alone, strict=True):
        owner.check(codes)


def test_conditions_embedded_elsewhere() -> None:
    rng = random.Random(4)
    lm = build("cross")
    owners = [Owner(lm, some_piece(rng), seed) for seed in range(6)]
    alone = [owner.alone() for owner in owners]
    with ThreadPoolExecutor(1) as executor:
        run_all(Batch(executor), owners, rng)
    for owner, codes in zip(owners, alone, strict=True):
        owner.check(codes)


def test_those_who_leave_are_not_missed() -> None:
    """Some are taken out, some ask to stop, at any step; the others' codes are the same."""
    rng = random.Random(5)
    lm = build("frames")
    for _ in range(2):
        owners = [Owner(lm, some_piece(rng), seed) for seed in range(6)]
        alone = [owner.alone() for owner in owners]
        batch = Batch()
        members = [owner.member() for owner in owners]
        for member in members:
            batch.add(member)
        taken, stopped = rng.sample(range(6), 2)
        when = rng.randrange(2, 12)
        for turn in range(1000):
            if turn == when:
                batch.remove(members[taken])
                owners[stopped].token.cancel()
            batch.step()
            if not len(batch):
                break
        for index, owner in enumerate(owners):
            if index == taken and owner.ends != [None]:
                assert owner.ends == []
            elif index == stopped and owner.ends != [None]:
                assert len(owner.ends) == 1 and isinstance(owner.ends[0], Cancelled)
            else:
                owner.check(alone[index])


def test_errors_stay_with_their_owner() -> None:
    """Conditions that cannot be embedded, and an owner who cannot take its frames."""
    rng = random.Random(6)
    lm = build("frames")
    good = [Owner(lm, some_piece(rng), seed) for seed in range(3)]
    alone = [owner.alone() for owner in good]
    bad, clumsy = (Owner(lm, some_piece(rng, prompts=False), 9) for _ in range(2))
    nonsense = ScorePlan(tempo=90, chords=((0.0, "H#x"),), duration=1.0)
    bad.task.attributes[0].symbolic["plan"] = SymbolicCondition(plan=nonsense)
    clumsy_member = clumsy.member()
    clumsy_member.on_frames = lambda _: (_ for _ in ()).throw(InvalidInput("no room"))
    batch = Batch()
    for member in (good[0].member(), bad.member(), good[1].member(), clumsy_member, good[2].member()):
        batch.add(member)
    while len(batch):
        batch.step()
    for owner, codes in zip(good, alone, strict=True):
        owner.check(codes)
    assert len(bad.ends) == len(clumsy.ends) == 1
    assert isinstance(clumsy.ends[0], InvalidInput) and isinstance(bad.ends[0], InvalidInput)
