"""What the original returned for parts of models: transformers, codebook patterns, conditions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiocraft.modules import codebooks_patterns as patterns
from audiocraft.modules import conditioners
from audiocraft.modules.transformer import (
    StreamingTransformer,
    StreamingTransformerLayer,
    create_norm_fn,
    create_sin_embedding,
)
from audiocraft.modules.unet_transformer import UnetTransformer
from audiocraft.utils import utils

Tensors = Mapping[str, Tensor]

TRANSFORMER = {"d_model": 16, "num_heads": 4, "num_layers": 2, "dim_feedforward": 32, "dropout": 0.0}
CUSTOM = {"causal": True, "custom": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"causal": True},
    "custom": CUSTOM,
    "memeff": {"causal": True, "memory_efficient": True},
    "prenorm": {**CUSTOM, "norm_first": True, "bias_ff": False, "bias_attn": False, "activation": nn.functional.gelu},
    "rope": {**CUSTOM, "positional_embedding": "rope"},
    "xpos": {**CUSTOM, "positional_embedding": "rope", "xpos": True},
    "sinrope": {**CUSTOM, "positional_embedding": "sin_rope"},
    "past": {**CUSTOM, "past_context": 3},
    "kvrep": {**CUSTOM, "kv_repeat": 2},
    "qkln": {**CUSTOM, "qk_layer_norm": True},
    "lscale": {**CUSTOM, "layer_scale": 0.3},
    "noncausal": {"custom": True, "norm_first": True},
    "cross": {**CUSTOM, "cross_attention": True, "norm_first": True},
    "crossln": {**CUSTOM, "cross_attention": True, "qk_layer_norm_cross": True},
}  # fmt: skip


def filled(module: Any, inputs: Tensors, prefix: str) -> Any:
    """`module` with the recorded weights; none may be left over."""
    weights = {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}
    module.load_state_dict(weights)
    return module.eval()


def transformer(folder: Path, inputs: Tensors) -> dict[str, Any]:
    """All at once, and step by step."""
    found, x = {}, inputs["x"]
    for name, options in VARIANTS.items():
        model = filled(StreamingTransformer(**TRANSFORMER, **options), inputs, f"{name}.")
        source = {"cross_attention_src": inputs["src"]} if "cross" in name else {}
        found[name] = model(x, **source)
        if options.get("causal") and name != "past":
            with model.streaming():
                steps = [model(x[:, step : step + 1], **source) for step in range(x.shape[1])]
            found[f"{name}.streamed"] = torch.cat(steps, dim=1)
    return found


def test_transformer(replay: Any) -> None:
    replay("transformer", "transformer", transformer)


def test_norms_of_small_inputs(replay: Any) -> None:
    """Inputs so small that the epsilon of the norms decides."""

    def small_norm(folder: Path, inputs: Tensors) -> dict[str, Any]:
        x, source = inputs["x"] * 3e-3, inputs["src"] * 3e-3
        positions = torch.arange(11).view(1, -1, 1)
        found = {
            "norm": create_norm_fn("layer_norm", 16)(x),
            "sin": create_sin_embedding(positions, 16),
            "sin_p100": create_sin_embedding(positions * 37, 10, max_period=100),
        }
        cases = {"pre": {"norm_first": True}, "qk": {"qk_layer_norm": True},
                 "cross": {"norm_first": True, "cross_attention": True}}  # fmt: skip
        for name, options in cases.items():
            given = {**TRANSFORMER, "num_layers": 1, "positional_scale": 0.0, **CUSTOM, **options}
            model = filled(StreamingTransformer(**given), inputs, f"small_{name}.")
            found[name] = model(x, **({"cross_attention_src": source} if name == "cross" else {}))
        return found

    replay("transformer", "small_norm", small_norm)


def test_transformer_with_skips(replay: Any) -> None:
    def unet_transformer(folder: Path, inputs: Tensors) -> dict[str, Any]:
        found = {}
        for skip in (0, 1):
            options = {**TRANSFORMER, "num_layers": 4, "skip_connections": bool(skip), "custom": True,
                       "norm_first": True, "cross_attention": True}  # fmt: skip
            model = UnetTransformer(layer_class=StreamingTransformerLayer, **options)
            model = filled(model, inputs, f"unet{skip}.")
            found[f"skip{skip}"] = model(inputs["x"], cross_attention_src=inputs["src"])
        return found

    replay("transformer", "unet_transformer", unet_transformer)


PATTERNS = {
    "delay": patterns.DelayedPatternProvider(4),
    "delay_custom": patterns.DelayedPatternProvider(4, delays=[0, 2, 2, 5]),
    "delay_flat": patterns.DelayedPatternProvider(4, delays=[0, 1, 1, 1], flatten_first=2, empty_initial=3),
    "parallel": patterns.ParallelPatternProvider(4),
    "parallel_noempty": patterns.ParallelPatternProvider(4, empty_initial=-1),
    "unroll": patterns.UnrolledPatternProvider(4),
    "unroll_flat": patterns.UnrolledPatternProvider(4, flattening=[0, 1, 1, 2], delays=[0, 3, 3, 3]),
    "coarse_first": patterns.CoarseFirstPattern(4),
    "coarse_first_delay": patterns.CoarseFirstPattern(4, delays=[1, 2, 3]),
    "musiclm": patterns.MusicLMPattern(4, group_by=2),
}


def laid_out(provider: Any, codes: Tensor) -> dict[str, Any]:
    """Codes as a sequence and back, logits back, and what a pattern says about itself."""
    K, T = codes.shape[1:]
    pattern = provider.get_pattern(T)
    found: dict[str, Any] = {}
    found["seq"], found["idx"], found["mask"] = pattern.build_pattern_sequence(codes, 1024)
    found["rev"], found["ridx"], found["rmask"] = pattern.revert_pattern_sequence(found["seq"], 2048)
    valid, _, found["vmask"] = pattern.build_pattern_sequence(codes, 1024, keep_only_valid_steps=True)
    S = valid.shape[-1]
    logits = torch.arange(2 * 3 * K * S).view(2, 3, K, S).float()
    back, _, found["rlmask"] = pattern.revert_pattern_logits(logits, -1.0, keep_only_valid_steps=True)
    first = [pattern.get_first_step_with_timesteps(frame) for frame in range(T)]
    found["first_steps"] = [-1 if step is None else step for step in first]
    found["misc"] = [pattern.num_sequence_steps, pattern.max_delay, int(pattern.starts_with_special_token()),
                     len(pattern.valid_layout)]  # fmt: skip
    return {**found, "vseq": valid, "rlogits": back}


def test_patterns(replay: Any) -> None:
    def all_patterns(folder: Path, inputs: Tensors) -> dict[str, Any]:
        return {
            f"{name}.{key}": value
            for name, provider in PATTERNS.items()
            for key, value in laid_out(provider, inputs["z"]).items()
        }

    replay("patterns", "patterns", all_patterns)


def lut_and_fuser(folder: Path, inputs: Tensors) -> dict[str, Any]:
    lut = conditioners.LUTConditioner(n_bins=50, dim=8, output_dim=12, tokenizer="noop")
    lut = filled(lut, inputs, "lut.")
    found: dict[str, Any] = {}
    found["lut"], found["lut_mask"] = lut(lut.tokenize(["Queen", None, "ABBA"]))
    a, mask, x = inputs["ca"], torch.ones(3, 4), inputs["inp"]
    given = {"a": (a, mask), "b": (inputs["cb"], torch.ones(3, 1)), "c": (a * 2, mask)}
    waves: dict[str, Any] = {"cross_attention_pos_emb": True, "cross_attention_pos_emb_scale": 0.5}
    cases: dict[str, tuple[dict[str, list[str]], dict[str, Any]]] = {
        "pre": ({"prepend": ["a"], "sum": ["b"], "cross": ["c"], "input_interpolate": []}, {}),
        "xpos": ({"cross": ["a", "c"], "sum": ["b"], "prepend": []}, waves),
        "interp": ({"input_interpolate": ["a"], "ignore": ["b"], "prepend": ["c"]}, {}),
    }
    for name, (methods, options) in cases.items():
        fuser = conditioners.ConditionFuser(methods, **options)
        found[f"{name}.x"], source = fuser(x, given)
        if source is not None:
            found[f"{name}.src"] = source
        if name != "interp":
            with fuser.streaming():
                found[f"{name}.s1"] = fuser(x[:, :2], given)[0]
                found[f"{name}.s2"] = fuser(x[:, 2:3], given)[0]
    wav = conditioners.WavCondition(
        x[:, None, :, 0], torch.tensor([6, 6, 6]), [16000] * 3, ["x", "y", "z"], [0.0, 1.0, 2.0]
    )
    nothing = conditioners.nullify_wav(wav)
    found["nullify.wav"], found["nullify.len"] = nothing.wav, nothing.length
    found["nullify.cond"], found["nullify.mask"] = conditioners.nullify_condition((a, mask))
    return found


def test_conditions(replay: Any) -> None:
    replay("conditioners", "lut_and_fuser", lut_and_fuser)


def test_tokenizers_and_utils(replay: Any) -> None:
    words = ["hello", "world", "rock", "Jeff Buckley", "", "été", "a b c"]
    chords = [(0.0, "C"), (0.5, "F"), (1.25, "G")]
    numbers = {"N": 0, "C": 1, "F": 2, "G": 3}

    def tokenizers_and_utils(folder: Path, inputs: Tensors) -> dict[str, Any]:
        tokens, mask = conditioners.NoopTokenizer(1000)(["Queen", None, "ABBA", "Jeff Buckley"])
        stacked, lengths = utils.collate([torch.arange(3.0), torch.arange(5.0), torch.arange(1.0)], dim=0)
        return {
            "hash": [[utils.hash_trick(word, size) for word in words] for size in (10, 128, 100000)],
            "noop": tokens,
            "noop_mask": mask,
            "ltm": utils.length_to_mask(torch.tensor([3, 0, 5])),
            "ltm8": utils.length_to_mask(torch.tensor([3, 0, 5]), max_len=8),
            "collate": stacked,
            "collate_len": lengths,
            "chords": list(utils.construct_frame_chords(0, chords, numbers, "", 50, 2.0)),
        }

    replay("conditioners", "tokenizers_and_utils", tokenizers_and_utils)
