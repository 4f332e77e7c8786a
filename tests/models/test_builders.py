"""Every configuration field reaches a constructor, and upstream's builders take upstream's mappings."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.checkpoints.torch_files.upgrade import read_release_config
from audiocraft.config.conditioning import FuserConfig
from audiocraft.config.decode import encode
from audiocraft.config.magnet import MagnetConfig, lm_config
from audiocraft.config.networks import CompressionConfig, LMConfig
from audiocraft.errors import ConfigError
from audiocraft.models import builders, debug
from audiocraft.models.magnet_builder import build_magnet_lm
from audiocraft.modules import codebooks_patterns as patterns
from audiocraft.quantization import DummyQuantizer, ResidualVectorQuantizer

TREE = {
    "device": "cpu",
    "optim": {"lr": 1},
    "conditioners": {
        "args": {"merge_text_conditions_p": 0.25},
        "description": {"model": "lut", "lut": {"n_bins": 128, "dim": 8, "tokenizer": "whitespace"}},
    },
    "fuser": {"cross_attention_pos_emb": False, "cross": ["description"], "sum": [], "prepend": []},
    "codebooks_pattern": {"modeling": "parallel"},
    "transformer_lm": {"dim": 16, "num_heads": 2, "num_layers": 1, "n_q": 2, "card": 8},
    "attribute_dropout": {"args": {"active_on_eval": False}, "text": {"description": 0.5}},
}


def test_get_lm_model() -> None:
    model = builders.get_lm_model(TREE)
    assert (model.num_codebooks, model.card) == (2, 8)
    assert model.transformer.has_cross_attention
    assert isinstance(model.pattern_provider, patterns.ParallelPatternProvider)


def test_get_compression_model() -> None:
    model = builders.get_compression_model({**encode(debug.codec_config()), "optim": {"lr": 1}})
    assert (model.sample_rate, model.frame_rate, model.num_codebooks, model.cardinality) == (
        32000,
        25.0,
        4,
        400,
    )
    assert not model.training


def test_meta_device_allocates_nothing() -> None:
    for model in (
        builders.build_codec(debug.codec_config(), device="meta"),
        builders.build_lm(debug.lm_config(), device="meta"),
    ):
        assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"modeling": "parallel"}, patterns.ParallelPatternProvider),
        ({"modeling": "delay", "delay": {"delays": [0, 1, 2, 3]}}, patterns.DelayedPatternProvider),
        ({"modeling": "unroll", "unroll": {"flattening": [0, 1, 1, 1]}}, patterns.UnrolledPatternProvider),
        ({"modeling": "coarse_first", "coarse_first": {"delays": [0, 0, 0]}}, patterns.CoarseFirstPattern),
        ({"modeling": "musiclm", "music_lm": {"group_by": 2}}, patterns.MusicLMPattern),
    ],
)
def test_patterns(section: dict[str, object], kind: type) -> None:
    assert isinstance(builders.get_codebooks_pattern_provider(4, section), kind)


def test_small_builders() -> None:
    assert isinstance(
        builders.get_quantizer("rvq", {"rvq": {"n_q": 2, "bins": 8}}, 4), ResidualVectorQuantizer
    )
    assert isinstance(builders.get_quantizer("no_quant", {}, 4), DummyQuantizer)
    encoder, decoder = builders.get_encodec_autoencoder(
        "seanet", {"seanet": {"n_filters": 2, "dimension": 4}}
    )
    assert encoder.hop_length == decoder.hop_length == 320
    assert list(builders.get_conditioner_provider(16, TREE).conditioners) == ["description"]
    assert builders.get_condition_fuser(TREE).cond2fuse == {"description": "cross"}
    codec = builders.build_codec(debug.codec_config())
    wrapped = builders.get_wrapped_compression_model(
        codec, {"compression_model_n_q": 2, "interleave_stereo_codebooks": {"use": True}}
    )
    assert (wrapped.num_codebooks, wrapped.channels) == (4, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: builders.get_quantizer("vq", {}, 4), "'vq' is not a choice"),
        (lambda: builders.get_encodec_autoencoder("dac", {}), "'dac' is not a choice"),
        (
            lambda: builders.get_codebooks_pattern_provider(
                2, {"modeling": "delay", "delay": {"delays": [0]}}
            ),
            "1 entries",
        ),
    ],
)
def test_refusals(call: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()  # type: ignore[operator]


def test_debug_models_are_always_the_same_and_leave_the_global_seed_alone() -> None:
    torch.manual_seed(5)
    first = builders.get_debug_lm_model().state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    assert all(
        torch.equal(value, first[name]) for name, value in builders.get_debug_lm_model().state_dict().items()
    )


def _manifest(golden_dir: Path, name: str) -> dict[str, Any]:
    with gzip.open(golden_dir.parent / "manifests" / f"{name}.json.gz") as file:
        manifest: dict[str, Any] = json.load(file)
    return manifest


@pytest.mark.parametrize(
    "name", ["encodec_32khz_compression", "encodec_24khz_causal", "encodec_16khz_audiogen_compression"]
)
def test_released_codecs_fit_their_configuration(golden_dir: Path, name: str) -> None:
    released = _manifest(golden_dir, name)["files"]["compression_state_dict.bin"]
    tree = read_release_config(released["cfg_yaml"], source=name)
    model = builders.build_codec(CompressionConfig.select(tree), device="meta")
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {key: shape for key, (shape, _) in released["state"].items()}


@pytest.mark.parametrize(
    "name", ["musicgen-small", "musicgen-large", "musicgen-stereo-small", "audiogen-medium"]
)
def test_released_language_models_decode(golden_dir: Path, name: str) -> None:
    tree = read_release_config(
        _manifest(golden_dir, name)["files"]["state_dict.bin"]["cfg_yaml"], source=name
    )
    config = LMConfig.select(tree)
    assert config.fuser.cross == ("description",)
    assert config.max_duration == tree["dataset"]["segment_duration"]


@pytest.mark.parametrize("name", ["magnet-small-10secs", "magnet-medium-30secs", "audio-magnet-small"])
def test_released_masked_models_fit_their_configuration(golden_dir: Path, name: str) -> None:
    released = _manifest(golden_dir, name)["files"]["state_dict.bin"]
    config = MagnetConfig.select(read_release_config(released["cfg_yaml"], source=name))
    lm = config.transformer_lm
    assert lm_config(read_release_config(released["cfg_yaml"], source=name)) == config
    bare = replace(
        config, conditioners={}, fuser=FuserConfig(), transformer_lm=replace(lm, cross_attention=True)
    )
    shapes = {
        key: list(value.shape) for key, value in build_magnet_lm(bare, device="meta").state_dict().items()
    }
    assert shapes == {
        key: shape
        for key, (shape, _) in released["state"].items()
        if not key.startswith("condition_provider.")
    }


@pytest.mark.parametrize("name", ["musicgen-melody", "musicgen-style"])
def test_released_models_that_listen_decode(golden_dir: Path, name: str) -> None:
    tree = read_release_config(
        _manifest(golden_dir, name)["files"]["state_dict.bin"]["cfg_yaml"], source=name
    )
    assert set(LMConfig.select(tree).conditioners) == {"description", "self_wav"}
