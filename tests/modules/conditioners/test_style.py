"""Styles: how much of an excerpt passes is a setting of the request, and nothing of a request stays on the module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.errors import CheckpointError, ConfigError, InvalidInput
from audiocraft.modules.conditioners import StyleConditioner, WavCondition, mert
from audiocraft.modules.conditioners.provider import collate_wavs
from audiocraft.types import StyleSettings

RATE, HOP = 8000, 160


class Codec(torch.nn.Module):
    """Codes that depend on every sample of their frame; counts how often it is asked."""

    sample_rate, channels, cardinality, frame_rate = RATE, 1, 32, RATE / HOP

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, HOP))
        self.calls = 0

    def encode(self, x: Tensor) -> tuple[Tensor, None]:
        self.calls += 1
        frames = x[:, 0].unfold(-1, HOP, HOP)  # [B, T, HOP]
        return (frames @ self.weight.T * 40).long().remainder(self.cardinality).transpose(1, 2), None


@pytest.fixture
def conditioner() -> Iterator[StyleConditioner]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = StyleConditioner(
            "xsmall",
            ds_factor=5,
            encodec_n_q=3,
            bins=16,
            model_name="encodec",
            sample_rate=RATE,
            encodec_checkpoint="test",
            length=1.0,
            output_dim=8,
            device="cpu",
            ds_rate_compression=HOP,
            use_middle_of_segment=True,
            codec=Codec(),
        )
        for layer in built.rvq.vq.layers:
            layer._codebook.embed.normal_()
            layer._codebook.inited.fill_(1)
        yield built.eval()


def row(wav: Tensor | None, style: StyleSettings | None = None, rate: int = RATE) -> WavCondition:
    if wav is None:
        return WavCondition(torch.zeros(1, 1, 1), torch.tensor([0]), [rate], [None], [None])
    return WavCondition(wav[None], torch.tensor([wav.shape[-1]]), [rate], [None], [0.0], style)


@pytest.fixture
def sounds(generator: torch.Generator) -> list[Tensor]:
    return [0.3 * torch.randn(1, int(seconds * RATE), generator=generator) for seconds in (2.0, 3.0, 0.4)]


@torch.no_grad()
def embed(conditioner: StyleConditioner, *rows: WavCondition) -> Tensor:
    embedding, mask = conditioner(conditioner.tokenize(collate_wavs(rows)))
    assert mask.shape == embedding.shape[:2]
    assert not embedding[mask == 0].any()
    return embedding


def test_settings_decide_how_many_vectors_there_are(
    conditioner: StyleConditioner, sounds: list[Tensor]
) -> None:
    assert embed(conditioner, row(sounds[0])).shape == (1, 10, 8)
    asked = StyleSettings(eval_q=1, excerpt_length=1.5, ds_factor=25)
    assert embed(conditioner, row(sounds[0], asked)).shape == (1, 3, 8)
    few, many = (
        embed(conditioner, row(sounds[0], StyleSettings(eval_q=q, excerpt_length=1.0))) for q in (1, 6)
    )
    assert few.shape == many.shape and not torch.equal(few, many)
    coarse = StyleSettings(excerpt_length=1.0, encodec_n_q=1)
    assert not torch.equal(embed(conditioner, row(sounds[0], coarse)), embed(conditioner, row(sounds[0])))


def test_rows_do_not_depend_on_each_other(conditioner: StyleConditioner, sounds: list[Tensor]) -> None:
    rows = [row(sounds[0]), row(sounds[1]), row(sounds[2])]
    together = embed(conditioner, *rows, row(None))
    for index, one in enumerate(rows):
        torch.testing.assert_close(together[index], embed(conditioner, one)[0])
    assert not together[3].any()
    assert embed(conditioner, row(None)).shape == (1, 1, 8)


def test_the_middle_is_heard_and_short_sounds_repeat(
    conditioner: StyleConditioner, sounds: list[Tensor]
) -> None:
    middle = sounds[1][:, RATE : 2 * RATE]
    torch.testing.assert_close(embed(conditioner, row(sounds[1])), embed(conditioner, row(middle)))
    repeated = sounds[2].repeat(1, 3)[:, :RATE]
    torch.testing.assert_close(embed(conditioner, row(sounds[2])), embed(conditioner, row(repeated)))


def test_equal_rows_are_read_once(conditioner: StyleConditioner, sounds: list[Tensor]) -> None:
    embed(conditioner, row(sounds[0]), row(sounds[0]), row(None))
    assert conditioner.__dict__["codec"].calls == 2, "the sound, and silence"


def test_a_request_leaves_no_trace(conditioner: StyleConditioner, sounds: list[Tensor]) -> None:
    before = {name: repr(value) for name, value in vars(conditioner).items()}
    embed(conditioner, row(sounds[0], StyleSettings(eval_q=2, excerpt_length=0.5, ds_factor=2)))
    assert before == {name: repr(value) for name, value in vars(conditioner).items()}


def test_set_params_is_for_what_does_not_say(conditioner: StyleConditioner, sounds: list[Tensor]) -> None:
    trained = conditioner.configured
    said = embed(conditioner, row(sounds[0], trained))
    conditioner.set_params(eval_q=1, excerpt_length=0.5, ds_factor=2, encodec_n_q=2)
    assert (conditioner.eval_q, conditioner.ds_factor) == (1, 2)
    assert embed(conditioner, row(sounds[0])).shape == (1, 13, 8)
    assert torch.equal(embed(conditioner, row(sounds[0], trained)), said)
    conditioner.set_params(eval_q=3, excerpt_length=1.0)
    assert torch.equal(embed(conditioner, row(sounds[0])), said)


def test_rows_of_a_batch_share_settings(sounds: list[Tensor]) -> None:
    with pytest.raises(InvalidInput, match="same settings"):
        collate_wavs([row(sounds[0], StyleSettings(eval_q=1)), row(sounds[0], StyleSettings(eval_q=2))])


def test_training(conditioner: StyleConditioner, sounds: list[Tensor]) -> None:
    """Gradients reach the embeddings through the quantiser; lengths vary; what was heard is not to be predicted."""
    conditioner.train()
    conditioner.use_middle_of_segment = False
    batch = collate_wavs([row(sounds[0]), row(sounds[1]), row(None)])
    excerpts = conditioner.tokenize(batch)
    assert 1.5 <= excerpts.settings.excerpt_length <= 4.5
    conditioner(excerpts)[0].square().sum().backward()
    assert isinstance(conditioner.embed, torch.nn.ModuleList)
    assert all(table.weight.grad is not None and table.weight.grad.any() for table in conditioner.embed)
    conditioner.varying_lengths = None
    excerpts = conditioner.tokenize(batch)
    mask = conditioner.loss_mask(excerpts, 150)
    assert mask.shape == (3, 4, 150) and mask[2].all()
    heard = (~mask[1, 0]).nonzero().flatten()
    assert len(heard) == 50 and abs(float(heard[0]) - float(excerpts.start[1]) * 50) <= 1
    conditioner.compute_mask = False
    assert conditioner.loss_mask(excerpts, 150).all()


def test_the_codec_is_not_a_part_of_the_model(conditioner: StyleConditioner) -> None:
    assert not [name for name in conditioner.state_dict() if "codec" in name]
    assert len([name for name in conditioner.state_dict() if name.startswith("embed.")]) == 3


def mert_conditioner(**changes: Any) -> StyleConditioner:
    options: dict[str, Any] = {
        "model_name": "mert",
        "sample_rate": 32000,
        "encodec_checkpoint": None,
        "length": 1.0,
        "output_dim": 8,
        "device": "cpu",
    }
    return StyleConditioner("xsmall", bins=16, **{**options, **changes})


def test_refusals(conditioner: StyleConditioner) -> None:
    for changes, words in (
        ({"eval_q": 7}, "6 codebooks of style"),
        ({"encodec_n_q": 4}, "at most 3"),
    ):
        with pytest.raises(InvalidInput, match=words):
            conditioner.set_params(**changes)
    for settings in (
        {"eval_q": 0},
        {"excerpt_length": 0.0},
        {"excerpt_length": float("nan")},
        {"ds_factor": 0},
    ):
        with pytest.raises(InvalidInput):
            StyleSettings(**settings)
    with pytest.raises(ConfigError, match="transformer_scale"):
        StyleConditioner("huge")
    with pytest.raises(ConfigError, match="model_name"):
        mert_conditioner(model_name="clap")
    with pytest.raises(ConfigError, match="codec"):
        mert_conditioner(model_name="encodec")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    mert._model.cache_clear()
    yield tmp_path / "hub"
    mert._model.cache_clear()


def test_a_missing_mert_is_named(hub: Path) -> None:
    pytest.importorskip("transformers")
    style = mert_conditioner().eval()
    with pytest.raises(CheckpointError, match=mert.NAME):
        style(style.tokenize(row(torch.randn(1, 64000), rate=32000)))


@pytest.mark.filterwarnings("ignore")
def test_mert_is_read_without_code_from_the_hub(hub: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = hub / ("models--" + mert.NAME.replace("/", "--")) / "snapshots" / "0"
    (hub / ("models--" + mert.NAME.replace("/", "--")) / "refs").mkdir(parents=True)
    (folder.parent.parent / "refs" / "main").write_text("0")
    config = transformers.HubertConfig(
        hidden_size=mert.DIM, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32
    )
    model = transformers.HubertModel(config).eval()
    model.save_pretrained(folder)
    tree = json.loads((folder / "config.json").read_text())
    tree.update(model_type="mert_model", auto_map={"AutoModel": "evil.py"}, architectures=["MERTModel"])
    (folder / "config.json").write_text(json.dumps(tree))
    wav = torch.randn(1, 1, mert.SAMPLE_RATE)
    found = mert.features(wav)
    assert found.shape == (1, 75, mert.DIM)
    with torch.no_grad():
        wanted = model(torch.nn.functional.pad(wav[0], (0, 80))).last_hidden_state
    torch.testing.assert_close(found, wanted)
    style = mert_conditioner().eval()
    assert style(style.tokenize(row(torch.randn(1, 64000), rate=32000)))[0].shape == (1, 5, 8)


def test_half_precision(conditioner: StyleConditioner, sounds: list[Tensor]) -> None:
    """Language models are in float16 on a GPU, codecs are not."""
    wanted = embed(conditioner, row(sounds[0]), row(None))
    found = embed(conditioner.half(), row(sounds[0]), row(None))
    assert found.dtype == torch.float16 and not found[1].any()
    same = (found.float() - wanted).abs().amax(-1) < 0.05 * wanted.abs().max()
    assert same.float().mean() > 0.8, "rounding may choose another code now and then"
