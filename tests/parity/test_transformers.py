"""The same weights here and in `transformers` say the same: tiny random models, saved there and loaded here, and the
other way round. Only public classes and calls of `transformers` are used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

from audiocraft.checkpoints.read import read
from audiocraft.models import CompressionModel, MusicGen
from audiocraft.models.conversion import convert
from audiocraft.models.loaders import load_compression_model, load_lm
from audiocraft.modules.conditioners import ChromaStemConditioner, Fused, WavCondition

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 1e-4  # of the largest expected value; both compute in float32


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Random weights that no other test's draws change; nothing on the screen."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        yield


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


def encodec_config(rate: int, **changes: Any) -> Any:
    """A small EnCodec of the kind that exists at this rate."""
    kinds: dict[int, dict[str, Any]] = {
        24000: {
            "use_causal_conv": True,
            "pad_mode": "reflect",
            "use_conv_shortcut": True,
            "audio_channels": 1,
        },
        32000: {
            "use_causal_conv": False,
            "pad_mode": "constant",
            "use_conv_shortcut": False,
            "audio_channels": 1,
        },
        48000: {
            "use_causal_conv": False,
            "pad_mode": "reflect",
            "use_conv_shortcut": True,
            "audio_channels": 2,
            "normalize": True,
            "norm_type": "time_group_norm",
            "chunk_length_s": 1.0,
            "overlap": 0.01,
        },
    }
    size = {
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_dim": 16,
        "codebook_size": 64,
        "num_lstm_layers": 1,
    }
    # One codebook costs 50 or more frames per second of 6 bits; this pays for four.
    frames = -(-rate // 640)
    shape = {"upsampling_ratios": [8, 5, 4, 4], "target_bandwidths": [frames * 6 * 4 / 1000]}
    return transformers.EncodecConfig(sampling_rate=rate, **{**kinds[rate], **size, **shape, **changes})


def randomised(model: Any) -> Any:
    """Codebooks that differ: transformers leaves them zero."""
    for name, buffer in model.named_buffers():
        if name.endswith("codebook.embed"):
            buffer.normal_()
        if name.endswith("codebook.inited"):
            buffer.fill_(1)
    return model.eval()


def encodec(rate: int) -> Any:
    return randomised(transformers.EncodecModel(encodec_config(rate)))


def t5_config() -> Any:
    return transformers.T5Config(d_model=24, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=128)


def decoder_settings(stereo: bool = False) -> dict[str, Any]:
    return {
        "vocab_size": 64, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_codebooks": 8 if stereo else 4, "audio_channels": 2 if stereo else 1, "pad_token_id": 64,
        "bos_token_id": 64, "max_position_embeddings": 128,
    }  # fmt: skip


def musicgen(stereo: bool = False, text_dim: int = 24) -> Any:
    text = t5_config()
    text.d_model = text_dim
    config = transformers.MusicgenConfig(
        text_encoder=text.to_dict(),
        audio_encoder=encodec_config(32000).to_dict(),
        decoder=transformers.MusicgenDecoderConfig(**decoder_settings(stereo)).to_dict(),
    )
    model = randomised(transformers.MusicgenForConditionalGeneration(config))
    sharpened(model.decoder)
    return model


def sharpened(decoder: Any) -> None:
    """Heads large enough for greedy choices with a margin."""
    for head in decoder.lm_heads:
        head.weight.normal_(std=0.5)


def melody() -> Any:
    config = transformers.MusicgenMelodyConfig(
        text_encoder=t5_config().to_dict(),
        audio_encoder=encodec_config(32000).to_dict(),
        decoder=transformers.MusicgenMelodyDecoderConfig(**decoder_settings()).to_dict(),
        num_chroma=12,
        chroma_length=20,
    )
    model = randomised(transformers.MusicgenMelodyForConditionalGeneration(config))
    sharpened(model.decoder)
    return model


def save_with_tokenizer(model: Any, folder: Path) -> Path:
    """As the hub has it: the model and the tokenizer of its T5."""
    model.save_pretrained(folder)
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "calm": 3, "piano": 4, "loud": 5, "drums": 6}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def inputs(samples: int, channels: int) -> Tensor:
    return torch.randn(2, channels, samples) * 0.3


@pytest.mark.parametrize("rate", [24000, 32000, 48000])
def test_encodec(rate: int, tmp_path: Path) -> None:
    theirs = encodec(rate)
    theirs.save_pretrained(tmp_path / "there")
    ours = CompressionModel.get_pretrained(str(tmp_path / "there"))
    wav = inputs(9999, theirs.config.audio_channels)
    bandwidth = theirs.config.target_bandwidths[-1]
    wanted = theirs.encode(wav, bandwidth=bandwidth)
    codes, scale = ours.encode(wav)
    assert ours.num_codebooks == 4 and ours.sample_rate == rate
    assert torch.equal(codes, wanted.audio_codes[0])
    if rate == 48000:
        close(scale, wanted.audio_scales[0])
    else:
        assert scale is None
    close(ours.decode(codes, scale), theirs.decode(wanted.audio_codes, wanted.audio_scales).audio_values)


@pytest.mark.parametrize("rate", [24000, 32000, 48000])
def test_encodec_back(rate: int, tmp_path: Path) -> None:
    first = encodec(rate)
    first.save_pretrained(tmp_path / "there")
    convert(tmp_path / "there", tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to="transformers")
    again = transformers.EncodecModel.from_pretrained(tmp_path / "back").eval()
    assert same_weights(first, again)
    wav = inputs(4000, first.config.audio_channels)
    bandwidth = again.config.target_bandwidths[-1]
    assert torch.equal(
        again.encode(wav, bandwidth=bandwidth).audio_codes,
        first.encode(wav, bandwidth=first.config.target_bandwidths[-1]).audio_codes,
    )
    wanted = load_compression_model(tmp_path / "ours").state_dict()
    found = load_compression_model(tmp_path / "back").state_dict()
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_dac(tmp_path: Path) -> None:
    theirs = transformers.DacModel(
        transformers.DacConfig(
            encoder_hidden_size=4,
            downsampling_ratios=[2, 4],
            decoder_hidden_size=16,
            upsampling_ratios=[4, 2],
            n_codebooks=3,
            codebook_size=32,
            codebook_dim=4,
            sampling_rate=16000,
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "there")
    ours = CompressionModel.get_pretrained(str(tmp_path / "there"))
    wav = inputs(800, 1)
    codes, _ = ours.encode(wav)
    assert torch.equal(codes, theirs.encode(wav).audio_codes)
    close(ours.decode(codes)[:, 0], theirs.decode(audio_codes=codes).audio_values)
    convert(tmp_path / "there", tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to="transformers")
    assert same_weights(theirs, transformers.DacModel.from_pretrained(tmp_path / "back"))


def same_weights(first: Any, second: Any) -> bool:
    wanted, found = first.state_dict(), second.state_dict()
    return wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)


def their_logits(model: Any, codes: Tensor, **given: Any) -> Tensor:
    """codes [B, K, S] -> logits [B, K, S, V]"""
    B, K, S = codes.shape
    logits = model(decoder_input_ids=codes.reshape(B * K, S), **given).logits
    return logits.reshape(B, K, *logits.shape[-2:])[:, :, -S:]


@pytest.mark.parametrize("stereo", [False, True])
def test_musicgen_logits(stereo: bool, tmp_path: Path) -> None:
    theirs = musicgen(stereo)
    folder = save_with_tokenizer(theirs, tmp_path / "there")
    lm, config = load_lm(folder)
    assert config.interleave_stereo_codebooks.use == stereo
    texts = ["calm piano", "loud drums"]
    tokens = lm.condition_provider.conditioners["description"].tokenize(texts)
    hidden, _ = lm.condition_provider.conditioners["description"](tokens)
    codes = torch.randint(0, 65, (2, lm.n_q, 11))
    wanted = their_logits(
        theirs, codes, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
    )
    close(lm.logits(codes, Fused(cross=hidden)), wanted)


def generated(
    ours: MusicGen,
    theirs: Any,
    frames: int,
    *,
    melody: Tensor | None = None,
    guidance: float = 3.0,
    **given: Any,
) -> tuple[Tensor, Tensor]:
    """Our tokens of a greedy generation of texts, after audio and tokens have been compared with theirs.

    Args:
        melody: [B, 1, N] at the model's rate, for ours.
        given: for theirs, beside texts.
    """
    texts = ["calm piano", "loud drums"]
    words = ours.lm.condition_provider.conditioners["description"].tokenize(texts)
    ours.set_generation_params(use_sampling=False, duration=frames / ours.frame_rate, cfg_coef=guidance)
    if melody is None:
        wav, codes = ours.generate(texts, return_tokens=True)
    else:
        wav, codes = ours.generate_with_chroma(texts, melody, ours.sample_rate, return_tokens=True)
    # transformers counts steps: one to begin with, and the delay of the last codebook.
    steps = frames + 1 + (ours.lm.n_q - 1) // ours.audio_channels
    wanted = theirs.generate(**words, **given, do_sample=False, guidance_scale=guidance, max_length=steps)
    close(wav, wanted)
    return wav, codes


@pytest.mark.parametrize("stereo", [False, True])
def test_musicgen_tokens_and_audio(stereo: bool, tmp_path: Path) -> None:
    theirs = musicgen(stereo)
    ours = MusicGen.get_pretrained(str(save_with_tokenizer(theirs, tmp_path / "there")), device="cpu")
    wav, codes = generated(ours, theirs, 20)
    assert wav.shape[1] == ours.audio_channels == 1 + stereo
    sides = [codes[:, side::2] for side in (0, 1)] if stereo else [codes]
    again = [theirs.audio_encoder.decode(side[None], [None]).audio_values for side in sides]
    close(wav, torch.cat(again, dim=1))
    generated(ours, theirs, 12, guidance=1.0)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_melody_tokens_and_audio(guidance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a melody, whose chroma both are given, and without."""
    monkeypatch.setattr(ChromaStemConditioner, "_get_stemmed_wav", lambda self, wav, sample_rate: wav)
    theirs = melody()
    ours = MusicGen.get_pretrained(str(save_with_tokenizer(theirs, tmp_path / "there")), device="cpu")
    generated(ours, theirs, 20, guidance=guidance)
    wav = inputs(20000, 1)
    sound = WavCondition(wav, torch.tensor([20000] * 2), [32000] * 2, [None] * 2, [None] * 2)
    chroma = ours.lm.condition_provider.conditioners["self_wav"]._get_wav_embedding(sound)
    assert chroma.shape == (2, 20, 12)
    generated(ours, theirs, 20, melody=wav, guidance=guidance, input_features=chroma)


@pytest.mark.parametrize(
    ("name", "recording", "tokens"),
    [
        ("musicgen", "musicgen_greedy_cfg", "tokens"),
        ("musicgen_stereo", "musicgen_stereo", "tokens"),
        ("musicgen_melody", "melody_generate", "tokens_text_only"),
    ],
)
def test_golden_models_say_the_same_there(
    name: str, recording: str, tokens: str, golden: Path, tmp_path: Path
) -> None:
    """Released checkpoints, written as `transformers` has them, say there what the original said. Only the longer text
    of two: there, the padding of the other is masked."""
    convert(golden / name, tmp_path, to="transformers")
    kind = "MusicgenMelody" if "melody" in name else "Musicgen"
    theirs = getattr(transformers, f"{kind}ForConditionalGeneration").from_pretrained(tmp_path).eval()
    wanted = load_file(golden / name / "expected" / f"{recording}.safetensors")
    codes = wanted[tokens][1:]
    ours = MusicGen.get_pretrained(str(tmp_path), device="cpu")
    words = ours.lm.condition_provider.conditioners["description"].tokenize(
        ["a dark techno track with piano"]
    )
    steps = codes.shape[-1] + 1 + (ours.lm.n_q - 1) // ours.audio_channels
    audio = theirs.generate(**words, do_sample=False, guidance_scale=3.0, max_length=steps)
    close(audio, ours.generate_audio(codes))
    if "wav" in wanted:
        close(audio, wanted["wav"][1:])


def test_musicgen_back(tmp_path: Path) -> None:
    theirs = musicgen()
    folder = save_with_tokenizer(theirs, tmp_path / "there")
    convert(folder, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to="transformers")
    assert same_weights(
        theirs, transformers.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "back")
    )
    one = MusicGen.get_pretrained(str(folder), device="cpu")
    two = MusicGen.get_pretrained(str(tmp_path / "ours"), device="cpu")
    for model in (one, two):
        model.set_generation_params(use_sampling=False, duration=0.2)
    assert torch.equal(one.generate(["calm drums"]), two.generate(["calm drums"]))


def test_melody_logits_and_back(tmp_path: Path) -> None:
    theirs = melody()
    folder = save_with_tokenizer(theirs, tmp_path / "there")
    lm, config = load_lm(folder)
    assert config.fuser.prepend == ("self_wav", "description")
    provider = lm.condition_provider.conditioners
    tokens = provider["description"].tokenize(["calm piano", "loud drums"])
    hidden, _ = provider["description"](tokens)
    chroma = torch.nn.functional.one_hot(torch.randint(0, 12, (2, 20)), 12).float()
    fused = Fused(prepend=torch.cat([provider["self_wav"].output_proj(chroma), hidden], dim=1))
    codes = torch.randint(0, 65, (2, lm.n_q, 9))
    wanted = their_logits(
        theirs,
        codes,
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        input_features=chroma,
    )
    close(lm.logits(codes, fused)[:, :, -9:], wanted)
    convert(folder, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to="transformers")
    again = transformers.MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path / "back")
    assert same_weights(theirs, again)


def test_equal_widths_have_no_projection(tmp_path: Path) -> None:
    """transformers leaves the projection of texts out; here it is the identity, and goes again on the way back."""
    theirs = musicgen(text_dim=32)
    assert not any("enc_to_dec_proj" in name for name in theirs.state_dict())
    folder = save_with_tokenizer(theirs, tmp_path / "there")
    weight = read(folder, kind="lm").tensors["condition_provider.conditioners.description.output_proj.weight"]
    assert torch.equal(weight, torch.eye(32))
    convert(folder, tmp_path / "back", to="transformers")
    assert same_weights(
        theirs, transformers.MusicgenForConditionalGeneration.from_pretrained(tmp_path / "back")
    )


def test_several_files(tmp_path: Path) -> None:
    """Large models are saved in shards."""
    theirs = encodec(32000)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    theirs.save_pretrained(tmp_path / "one")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    wanted = read(tmp_path / "one", kind="compression").tensors
    found = read(tmp_path / "shards", kind="compression").tensors
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)
