"""The language model: its training pass and its steps agree, rows do not know of each other, nothing stays behind."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from audiocraft.errors import InvalidInput
from audiocraft.models.lm import LMModel, ScaledEmbedding, get_init_fn, init_layer
from audiocraft.modules.codebooks_patterns import (
    CoarseFirstPattern,
    DelayedPatternProvider,
    ParallelPatternProvider,
)
from audiocraft.modules.conditioners import (
    BagOfWordsConditioner,
    ConditionFuser,
    ConditioningAttributes,
    ConditioningProvider,
    Fused,
    LUTConditioner,
)
from audiocraft.modules.conditioners.score import ScoreConditioner
from audiocraft.types import ScorePlan, SymbolicCondition

K, V, D = 4, 30, 16
FUSERS = {
    "frames": {"sum": ["text"], "frames": ["plan"]},
    "cross": {"cross": ["text"], "prepend": ["plan"]},
    "prepend": {"prepend": ["text"], "sum": ["plan"]},
    "stretch": {"sum": ["text"], "input_interpolate": ["plan"]},
}


def build(fusing: str = "frames", **options) -> LMModel:
    methods = FUSERS[fusing]
    options = {"pattern_provider": DelayedPatternProvider(K), **options}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = BagOfWordsConditioner(64, 8, D)
        if fusing in ("cross", "prepend"):
            text = LUTConditioner(64, 8, D, "whitespace")
        plan = ScoreConditioner(D, frame_rate=10) if fusing != "prepend" else LUTConditioner(64, 8, D, "noop")
        return LMModel(
            condition_provider=ConditioningProvider({"text": text, "plan": plan}),
            fuser=ConditionFuser(methods),
            n_q=K,
            card=V,
            dim=D,
            num_heads=4,
            num_layers=2,
            norm_first=True,
            causal=True,
            custom=True,
            dropout=0.0,
            cross_attention="cross" in methods,
            weight_init="gaussian",
            depthwise_init="current",
            zero_bias_init=True,
            **options,
        ).eval()


def attributes(text: str | None, tempo: float | None = None) -> ConditioningAttributes:
    plan = None if tempo is None else ScorePlan(tempo=tempo, chords=((0.0, "Am"), (0.5, "F")), duration=1.2)
    symbolic = {} if plan is None else {"plan": SymbolicCondition(plan=plan)}
    return ConditioningAttributes(text={"text": text, "plan": text}, symbolic=symbolic)


ROWS = [attributes("sad piano", 90.0), attributes("happy rock song", 140.0)]


def fuse(lm: LMModel, rows: list[ConditioningAttributes]) -> Fused:
    return lm.fuser.fuse(lm.condition_provider(lm.condition_provider.tokenize(rows)))


def codes(batch: int = 2, steps: int = 12) -> torch.Tensor:
    return torch.randint(V + 1, (batch, K, steps), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("fusing", FUSERS)
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 4, 2]], ids=["steps", "chunks"])
@torch.no_grad()
def test_in_pieces_is_all_at_once(fusing: str, chunks: list[int]) -> None:
    lm = build(fusing)
    fused, sequence = fuse(lm, ROWS), codes()
    state = lm.init_state(2, 12, fused)
    pieces = [lm.logits(part, fused, state) for part in sequence.split(chunks, dim=-1)]
    torch.testing.assert_close(torch.cat(pieces, 2), lm.logits(sequence, fused), rtol=1e-5, atol=1e-5)
    assert state.position.tolist() == [12, 12]


@torch.no_grad()
def test_the_streaming_block_is_the_same_thing() -> None:
    lm, sequence = build("cross"), codes()
    tensors = lm.condition_provider(lm.condition_provider.tokenize(ROWS))
    with lm.streaming():
        pieces = [lm(part, [], tensors) for part in sequence.split([5, 1, 6], dim=-1)]
    torch.testing.assert_close(torch.cat(pieces, 2), lm(sequence, ROWS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusing", ["frames", "cross"])
@torch.no_grad()
def test_rows_at_different_positions_share_a_step(fusing: str) -> None:
    """A request joins while another is in the middle; each row reads its own frame of its own plan."""
    lm, sequence, starts = build(fusing), codes(), [7, 3]
    fused = fuse(lm, ROWS)
    states, alone = [], []
    for row, start in enumerate(starts):
        own = fused.rows(slice(row, row + 1))
        state = lm.init_state(1, 12, own)
        lm.logits(sequence[row : row + 1, :, :start], own, state)
        states.append(state)
    joined = lm.init_state(2, 12, fused)
    for index, layer in enumerate(joined.transformer.layers):
        layer.past.keys = torch.cat([state.transformer.layers[index].past.keys for state in states])
        layer.past.values = torch.cat([state.transformer.layers[index].past.values for state in states])
    joined.transformer.position = torch.cat([state.transformer.position for state in states])
    joined.transformer.kv_length = max(state.transformer.kv_length for state in states)
    joined.prepended, joined.started = states[0].prepended, True
    step = torch.stack([sequence[row, :, start : start + 2] for row, start in enumerate(starts)])
    together = lm.logits(step, fused, joined)
    for row, state in enumerate(states):
        alone.append(lm.logits(step[row : row + 1], fused.rows(slice(row, row + 1)), state))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)
    assert joined.position.tolist() == [9, 5]


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours() -> None:
    lm = build("frames")
    both = lm.compute_predictions(codes().clamp(max=V - 1), ROWS).logits
    one = lm.compute_predictions(codes().clamp(max=V - 1)[:1], ROWS[:1]).logits
    torch.testing.assert_close(both[:1], one, rtol=1e-5, atol=1e-5, equal_nan=True)


@torch.no_grad()
def test_a_frame_of_the_plan_is_heard_from_its_frame_on() -> None:
    """Row t enters at the step that predicts frame t of codebook 0, where the next codebook still has frame t - 1."""
    lm = build("frames")
    fused = fuse(lm, ROWS)
    changed = Fused(add=fused.add, frames=fused.frames.clone())
    changed.frames[:, 6, 0] += 1.0
    frame = codes(steps=12).clamp(max=V - 1)
    pattern = lm.pattern_provider.get_pattern(12)
    sequence, _, _ = pattern.build_pattern_sequence(frame, V, keep_only_valid_steps=True)
    outs = [
        pattern.revert_pattern_logits(lm.logits(sequence, f).permute(0, 3, 1, 2), math.nan, True)[0]
        for f in (fused, changed)
    ]
    difference = (outs[0] - outs[1]).abs().amax(dim=(0, 1))  # [K, T]
    assert all(not difference[k, : 6 - k].any() and difference[k, 6 - k] > 1e-4 for k in range(K))


@torch.no_grad()
def test_the_training_pass_is_the_network_put_back_in_order() -> None:
    lm, frames = build("cross"), codes(steps=9).clamp(max=V - 1)
    for valid in (True, False):
        out = lm.compute_predictions(frames, ROWS, keep_only_valid_steps=valid)
        pattern = lm.pattern_provider.get_pattern(9)
        sequence, _, _ = pattern.build_pattern_sequence(frames, V, keep_only_valid_steps=valid)
        logits, _, mask = pattern.revert_pattern_logits(
            lm(sequence, ROWS).permute(0, 3, 1, 2), math.nan, valid
        )
        assert torch.equal(out.mask, mask.expand(2, -1, -1))
        assert torch.equal(out.logits.isnan().any(-1), ~out.mask)
        torch.testing.assert_close(out.logits, logits.permute(0, 2, 3, 1), equal_nan=True)


def test_every_weight_learns() -> None:
    for fusing in ("frames", "cross"):
        lm = build(fusing).train()
        out = lm.compute_predictions(codes().clamp(max=V - 1), ROWS)
        out.logits[out.mask].square().sum().backward()
        assert [name for name, weight in lm.named_parameters() if weight.grad is None] == []


@torch.no_grad()
def test_no_condition_at_all_is_fine_with_cross_attention() -> None:
    """The original failed here; nothing is what null conditions are."""
    lm = build("cross")
    bare = lm.fuser.fuse({})
    assert lm.logits(codes(), bare).shape == (2, K, 12, V)
    assert lm.generate(num_samples=2, max_gen_len=6).shape == (2, K, 6)


class TestGenerate:
    def test_same_seeds_same_codes_and_each_row_alone(self) -> None:
        lm = build("frames")
        both = lm.generate(conditions=ROWS, max_gen_len=8, cfg_coef=2.0, seeds=[1, 2], check=True)
        again = lm.generate(conditions=ROWS, max_gen_len=8, cfg_coef=2.0, seeds=[1, 2])
        alone = lm.generate(conditions=ROWS[1:], max_gen_len=8, cfg_coef=2.0, seeds=[2])
        other = lm.generate(conditions=ROWS, max_gen_len=8, cfg_coef=2.0, seeds=[3, 4])
        assert torch.equal(both, again) and torch.equal(both[1:], alone) and not torch.equal(both, other)

    def test_the_prompt_is_kept_or_removed(self) -> None:
        lm, prompt = build("frames"), codes(steps=3).clamp(max=V - 1)
        calls: list[tuple[int, int]] = []
        kept = lm.generate(
            prompt, ROWS, max_gen_len=8, use_sampling=False, callback=lambda *done: calls.append(done)
        )
        removed = lm.generate(prompt, ROWS, max_gen_len=8, use_sampling=False, remove_prompts=True)
        assert torch.equal(kept[..., :3], prompt) and torch.equal(kept[..., 3:], removed)
        assert calls[-1][0] == calls[-1][1] == len(calls)

    def test_guidance_strength_counts_in_two_passes_too(self) -> None:
        """With two_step_cfg the original used its own strength whatever was asked for."""
        lm = build("frames")
        options = {"conditions": ROWS, "max_gen_len": 8, "use_sampling": False}
        weak, strong = (lm.generate(cfg_coef=c, two_step_cfg=True, **options) for c in (1.0, 30.0))
        assert not torch.equal(weak, strong)
        assert torch.equal(strong, lm.generate(cfg_coef=30.0, two_step_cfg=False, **options))

    def test_it_leaves_the_model_as_it_was_even_from_many_threads(self) -> None:
        """Two users at once: the original mixed their caches and crashed."""
        lm = build("cross")

        def run(seed: int) -> torch.Tensor:
            return lm.generate(conditions=ROWS[:1], max_gen_len=6, cfg_coef=2.0, seeds=[seed])

        before = {name: dict(vars(module)) for name, module in lm.named_modules()}
        alone = [run(seed) for seed in range(6)]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(run, range(6)))
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
        for name, module in lm.named_modules():
            assert before[name].keys() == vars(module).keys()
            assert all(vars(module)[key] is value for key, value in before[name].items())

    @pytest.mark.parametrize(
        "options",
        [
            {"prompt": codes(steps=8), "max_gen_len": 8},
            {"prompt": torch.zeros(1, 2, 3).long()},
            {"prompt": codes(), "num_samples": 3, "max_gen_len": 20},
        ],
    )
    def test_what_does_not_fit_is_refused(self, options) -> None:
        with pytest.raises(InvalidInput):
            build("frames").generate(**options)

    def test_a_model_in_training_does_not_generate(self) -> None:
        with pytest.raises(InvalidInput, match="eval"):
            build("frames").train().generate(max_gen_len=4)


def test_conditions_by_frames_need_a_frame_per_step() -> None:
    with pytest.raises(InvalidInput, match="frame per step"):
        build("frames", pattern_provider=CoarseFirstPattern(K))
    build("frames", pattern_provider=ParallelPatternProvider(K, empty_initial=2))


def test_conditions_come_once() -> None:
    lm = build("frames")
    with pytest.raises(InvalidInput, match="not both"):
        lm(codes(), ROWS, {})
    with pytest.raises(InvalidInput, match="codebooks"):
        lm(codes()[:, :2], ROWS)


def test_initial_weights_follow_the_width_and_the_depth() -> None:
    weight = torch.empty(400, 100)
    for method in ("gaussian", "uniform"):
        get_init_fn(method, 100)(weight)
        assert weight.std().item() == pytest.approx(0.1, rel=0.05)
        get_init_fn(method, 100, init_depth=8)(weight)
        assert weight.std().item() == pytest.approx(0.1 / 4, rel=0.05)
    linear = torch.nn.Linear(4, 4)
    init_layer(linear, "gaussian", zero_bias_init=True)
    assert not linear.bias.any()
    with pytest.raises(InvalidInput):
        get_init_fn("orthogonal", 4)


def test_embeddings_may_learn_at_their_own_rate() -> None:
    assert ScaledEmbedding(4, 2, lr=0.3).make_optim_group()["lr"] == 0.3
    assert "lr" not in ScaledEmbedding(4, 2).make_optim_group()
