"""Conditions that a text or a sound may stand for, over a tiny random CLAP."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.errors import CheckpointError, ConfigError
from audiocraft.modules.clap import Clap
from audiocraft.modules.conditioners import (
    CLAPEmbeddingConditioner,
    ClassifierFreeGuidanceDropout,
    ConditioningAttributes,
    ConditioningProvider,
    JointEmbedCondition,
    JointEmbeddingConditioner,
)
from audiocraft.types import ConditionType

RATE = 48000


class Mean(JointEmbeddingConditioner):
    """The mean of the sound, times a direction: enough to follow what the base class does with it."""

    def _get_embed(self, x: JointEmbedCondition) -> tuple[Tensor, Tensor]:
        return x.wav.mean((1, 2))[:, None] * torch.ones(self.dim), x.length > 0


def rows(*values: float, text: str | None = "a tone") -> JointEmbedCondition:
    return JointEmbedCondition(
        wav=torch.tensor(values)[:, None, None].expand(-1, 1, 100),
        text=[text] * len(values),
        length=torch.tensor([100 if value else 0 for value in values]),
        sample_rate=[RATE] * len(values),
        path=[None] * len(values),
        seek_time=[0.0] * len(values),
    )


def out(conditioner: JointEmbeddingConditioner, x: JointEmbedCondition) -> ConditionType:
    return conditioner(conditioner.tokenize(x))


def test_one_vector_per_row_and_none_where_there_is_nothing() -> None:
    conditioner = Mean(4, 6, "cpu", "description", quantize=False).eval()
    embedding, mask = out(conditioner, rows(0.5, 0.0, 1.0))
    assert embedding.shape == (3, 1, 6) and mask.tolist() == [[1], [0], [1]]
    assert not embedding[1].any()
    assert torch.allclose(embedding[0, 0], conditioner.output_proj(torch.full((4,), 0.5)))


def test_quantised_vectors_come_from_a_small_set() -> None:
    conditioner = Mean(4, 6, "cpu", "description", n_q=1, bins=2, kmeans_iters=5)
    conditioner.train()
    out(conditioner, rows(*[0.1, 0.11, 0.9, 0.91] * 8))
    conditioner.eval()
    embedding, _ = out(conditioner, rows(0.1, 0.12, 0.9, 0.88))
    assert torch.equal(embedding[0], embedding[1]) and torch.equal(embedding[2], embedding[3])
    assert not torch.equal(embedding[0], embedding[2])
    assert {name.split(".")[0] for name in conditioner.state_dict()} == {"output_proj", "quantizer"}


def test_through_the_provider_and_guidance() -> None:
    provider = ConditioningProvider({"description": Mean(4, 6, "cpu", "description", quantize=False)})
    row = ConditioningAttributes(joint_embed={"description": rows(0.5)})
    dropped = ClassifierFreeGuidanceDropout(1.0)([row])
    told, untold = (provider(provider.tokenize(batch))["description"] for batch in ([row], dropped))
    assert told[1].item() == 1 and untold[1].item() == 0 and not untold[0].any()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLAP of some thousand weights in the format of transformers."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("clap")
    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "dog", "barks", "calm", "piano", "rain"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = transformers.ClapConfig(
        text_config={"vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "intermediate_size": 16, "max_position_embeddings": 34, "projection_dim": 8},
        audio_config={"patch_embeds_hidden_size": 8, "hidden_size": 32, "depths": [1, 1, 1],
                      "num_attention_heads": [1, 1, 1], "num_hidden_layers": 3, "projection_dim": 8},
        projection_dim=8,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor().save_pretrained(folder)
    return folder


def conditioner(checkpoint: Path, **changes: Any) -> CLAPEmbeddingConditioner:
    settings: dict[str, Any] = dict(
        dim=8, output_dim=6, device="cpu", attribute="description", quantize=False, n_q=2, bins=4,
        checkpoint=checkpoint, model_arch="HTSAT-base", enable_fusion=False, sample_rate=RATE,
        max_audio_length=1.0, audio_stride=0.5, normalize=True, text_p=0.0,
    )  # fmt: skip
    return CLAPEmbeddingConditioner(**(settings | changes))


def sounds(*seconds: float, path: Path | None = None, start: float = 0.0) -> JointEmbedCondition:
    longest = int(max(seconds) * RATE)
    wav = 0.3 * torch.randn(len(seconds), 1, longest, generator=torch.Generator().manual_seed(1))
    return JointEmbedCondition(
        wav=wav,
        text=["calm piano", None, ""][: len(seconds)],
        length=torch.tensor([int(each * RATE) for each in seconds]),
        sample_rate=[RATE] * len(seconds),
        path=[None if path is None else str(path)] * len(seconds),
        seek_time=[start] * len(seconds),
    )


@pytest.mark.slow
def test_texts_speak_for_sounds_after_training(checkpoint: Path) -> None:
    made = conditioner(checkpoint).eval()
    embedding, mask = out(made, sounds(0.5, 0.5, 0.5))
    assert mask.tolist() == [[1], [0], [0]], "rows without a text are told nothing"
    wanted = made.output_proj(made.clap.texts(["calm piano"])[0])
    assert torch.allclose(embedding[0, 0], wanted, atol=1e-6)
    assert not any("clap" in name for name in made.state_dict())


@pytest.mark.slow
def test_a_long_sound_is_the_mean_of_its_windows(checkpoint: Path) -> None:
    made = conditioner(checkpoint, normalize=False, batch_size=2).train()
    x = sounds(2.0, 0.7, 0.0)
    embedding, mask = out(made, x)
    assert mask.tolist() == [[1], [1], [0]]
    windows = torch.stack([x.wav[0, 0, start : start + RATE] for start in (0, RATE // 2, RATE)])
    wanted = made.output_proj(made.clap.sounds(windows).mean(0))
    assert torch.allclose(embedding[0, 0], wanted, atol=1e-5)
    texts = conditioner(checkpoint, text_p=1.0).train()
    assert out(texts, x)[1].tolist() == [[1], [0], [0]]


@pytest.mark.slow
def test_whole_files_are_embedded_once(checkpoint: Path, tmp_path: Path) -> None:
    from audiocraft.audio.files import audio_read, audio_write

    noise = 0.2 * torch.randn(1, 3 * RATE, generator=torch.Generator().manual_seed(2))
    path = audio_write(tmp_path / "noise", noise, RATE, strategy="clip")
    wav, _ = audio_read(path)
    made = conditioner(checkpoint, cache_path=tmp_path / "cache").train()
    first = out(made, sounds(2.0, path=path, start=0.5))[0]
    direct = made._of_sounds(sounds(2.0)._replace(wav=wav[None, :, RATE // 2 : RATE // 2 + 2 * RATE]))
    assert torch.allclose(first[0, 0], made.output_proj(direct[0]), atol=1e-5)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    audio_write(tmp_path / "noise", noise.flip(-1), RATE, strategy="clip")
    assert not torch.equal(
        out(made, sounds(2.0, path=path, start=0.5))[0], first
    )  # another sound of that name
    made._windows = None  # type: ignore[method-assign, assignment]
    assert not torch.equal(out(made, sounds(2.0, path=path, start=0.5))[0], first)


@pytest.mark.slow
def test_checkpoints_that_do_not_fit(checkpoint: Path, tmp_path: Path, caplog: Any) -> None:
    with pytest.raises(ConfigError, match=r"clap\.dim is 512"):
        conditioner(checkpoint, dim=512)
    with pytest.raises(CheckpointError, match="LAION"):
        Clap("music_audioset.pt")
    with pytest.raises(CheckpointError, match="no CLAP at"):
        Clap(tmp_path)
    with caplog.at_level(logging.WARNING):
        clap = Clap(checkpoint)
        clap.texts = lambda texts: torch.ones(2, 4) / 2  # type: ignore[method-assign]
        clap._check()
    assert "unrelated sentences alike" in caplog.text


@pytest.mark.slow
def test_music_is_generated_from_a_prompt(checkpoint: Path) -> None:
    from audiocraft.config.conditioning import CLAPConfig, FuserConfig
    from audiocraft.config.networks import DelayConfig, LMConfig, TransformerLMConfig
    from audiocraft.models import MusicGen
    from audiocraft.models.builders import build_lm, get_debug_compression_model

    clap = CLAPConfig(checkpoint=str(checkpoint), dim=8, n_q=2, bins=4, quantize=False)
    config = LMConfig(
        transformer_lm=TransformerLMConfig(dim=16, num_heads=4, num_layers=1, n_q=4, card=400),
        codebooks_pattern=DelayConfig(delays=(0, 1, 2, 3)),
        conditioners={"description": clap},
        fuser=FuserConfig(cross=("description",)),
        max_duration=2.0,
    )
    torch.manual_seed(0)
    model = MusicGen("tiny-clap", get_debug_compression_model(), build_lm(config), max_duration=2.0)
    model.set_generation_params(duration=0.4, use_sampling=False, cfg_coef=9.0)
    one, two, nothing = (model.generate([text]) for text in ("calm piano", "dog barks", None))
    assert not torch.equal(one, two) and not torch.equal(one, nothing)
