"""Scripts as users of the original write them, from what its documentation describes; the model's name is `nano`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from audiocraft.data.audio import audio_info, audio_read, audio_write
from audiocraft.data.audio_dataset import (
    AudioDataset,
    AudioMeta,
    SegmentInfo,
    load_audio_meta,
    save_audio_meta,
)
from audiocraft.data.audio_utils import convert_audio
from audiocraft.errors import InvalidInput
from audiocraft.models import AudioGen, CompressionModel, EncodecModel, MusicGen
from audiocraft.models.loaders import load_compression_model, load_lm_model
from audiocraft.modules.conditioners import (
    ClassifierFreeGuidanceDropout,
    ConditionFuser,
    ConditioningAttributes,
    ConditioningProvider,
    LUTConditioner,
)

RATE = 24000


@pytest.fixture(scope="module")
def shared() -> MusicGen:
    return MusicGen.get_pretrained("nano")


@pytest.fixture
def model(shared: MusicGen) -> MusicGen:
    shared.set_generation_params(duration=0.6)
    shared.set_custom_progress_callback(None)
    return shared


def tone(seconds: float, channels: int = 1) -> torch.Tensor:
    time = torch.arange(int(seconds * RATE)) / RATE
    return (0.2 * torch.sin(2 * torch.pi * 330 * time)).expand(channels, -1).clone()


def test_text_to_files(model: MusicGen, tmp_path: Path) -> None:
    """The first example of the original's page on MusicGen."""
    wav = model.generate(["happy rock", "energetic EDM"])
    for idx, one_wav in enumerate(wav):
        audio_write(
            str(tmp_path / f"{idx}"),
            one_wav.cpu(),
            model.sample_rate,
            strategy="loudness",
            loudness_compressor=True,
        )
    assert [audio_info(tmp_path / f"{idx}.wav").sample_rate for idx in range(2)] == [model.sample_rate] * 2
    assert wav.shape == (2, 1, int(0.6 * RATE))


def test_continuation(model: MusicGen, tmp_path: Path) -> None:
    path = audio_write(tmp_path / "bach", tone(0.5, 2), RATE)
    prompt_waveform, prompt_sr = audio_read(path)
    prompt_waveform = prompt_waveform[..., : int(0.3 * prompt_sr)]
    output = model.generate_continuation(prompt_waveform, prompt_sample_rate=prompt_sr, progress=False)
    assert output.shape == (1, 1, int(0.6 * RATE))
    told = model.generate_continuation(
        torch.stack([prompt_waveform] * 2), prompt_sr, ["piano", "drums"], progress=False, return_tokens=True
    )
    assert len(told) == 2 and told[1].shape[0] == 2


def test_a_model_without_ears_refuses_a_melody(model: MusicGen) -> None:
    melody = tone(1.0)
    with pytest.raises(InvalidInput, match="facebook/musicgen-melody"):
        model.generate_with_chroma(["happy rock"], melody[None].expand(1, -1, -1), RATE)
    with pytest.raises(InvalidInput, match="facebook/musicgen-style"):
        model.set_style_conditioner_params(eval_q=1, excerpt_length=3.0)


def test_unconditional_and_tokens(model: MusicGen) -> None:
    assert model.generate_unconditional(3, progress=False).shape == (3, 1, int(0.6 * RATE))
    model.set_generation_params(
        use_sampling=True, top_k=250, top_p=0.0, temperature=1.0, duration=0.4, cfg_coef=3
    )
    audio, tokens = model.generate(["calm piano"], progress=False, return_tokens=True)
    assert tokens.shape == (1, 4, 10)
    again = model.compression_model.decode(tokens)[..., : audio.shape[-1]]
    assert torch.allclose(again, audio, atol=1e-4)


def test_a_progress_callback(model: MusicGen) -> None:
    seen: list[str] = []
    model.set_custom_progress_callback(lambda done, total: seen.append(f"{done}/{total}"))
    model.generate(["calm piano"], progress=True)
    assert seen[-1] == f"{len(seen)}/{len(seen)}"


@pytest.mark.parametrize("strategy", ["loudness", "peak", "rms", "clip"])
@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "ogg"])
def test_levels_and_formats(tmp_path: Path, strategy: str, form: str) -> None:
    path = audio_write(tmp_path / "x" / "y", 3 * tone(0.5), RATE, format=form, strategy=strategy)
    wav, rate = audio_read(path, duration=0.2)
    assert (path.suffix, rate) == (f".{form}", RATE) and 0 < float(wav.abs().max()) <= 1.1
    assert audio_write(tmp_path / "z.bin", tone(0.1), RATE, add_suffix=False).name == "z.bin"


def test_a_codec_there_and_back() -> None:
    model = CompressionModel.get_pretrained("nano")
    assert isinstance(model, EncodecModel) and not model.training
    wav = convert_audio(tone(0.5, 2), RATE, model.sample_rate, model.channels)[None]
    codes, scale = model.encode(wav)
    assert codes.shape[1] == model.num_codebooks and scale is None
    decoded = model.decode(codes, scale)
    assert decoded.shape[-1] >= wav.shape[-1]
    model.set_num_codebooks(2)
    assert model.encode(wav)[0].shape[1] == 2 and model.total_codebooks == 4
    assert model.decode_latent(codes).shape[-1] == codes.shape[-1]
    assert model(wav).x.shape == wav.shape


def test_sounds_from_text(tmp_path: Path) -> None:
    model = AudioGen.get_pretrained("nano")
    model.set_generation_params(duration=0.4)
    for idx, one_wav in enumerate(model.generate(["dog barking", "sirens of an emergency vehicle"])):
        audio_write(tmp_path / f"{idx}", one_wav.cpu(), model.sample_rate, strategy="loudness")
    assert {path.name for path in tmp_path.iterdir()} == {"0.wav", "1.wav"}


def test_a_dataset_in_a_loader(tmp_path: Path) -> None:
    for number in range(3):
        audio_write(tmp_path / "audio" / f"{number}", tone(0.6), RATE)
    meta = [AudioMeta(str(path), 0.6, RATE) for path in sorted((tmp_path / "audio").iterdir())]
    save_audio_meta(tmp_path / "egs" / "data.jsonl.gz", meta)
    assert load_audio_meta(tmp_path / "egs" / "data.jsonl.gz", resolve=False) == meta
    dataset = AudioDataset.from_meta(
        tmp_path / "egs", segment_duration=0.3, num_samples=4, sample_rate=16000, channels=1, return_info=True
    )
    loader = DataLoader(dataset, batch_size=2, collate_fn=dataset.collater, num_workers=0)
    batches = list(loader)
    assert len(batches) == 2 and batches[0][0].shape == (2, 1, 4800)
    assert all(isinstance(info, SegmentInfo) for _, infos in batches for info in infos)


def test_conditioners_of_ones_own() -> None:
    provider = ConditioningProvider(
        {"genre": LUTConditioner(n_bins=32, dim=8, output_dim=16, tokenizer="whitespace", pad_idx=0)}
    )
    rows = [ConditioningAttributes(text={"genre": "rock"}), ConditioningAttributes(text={"genre": None})]
    embedded = provider(provider.tokenize(rows))
    assert embedded["genre"][0].shape[::2] == (2, 16)
    fuser = ConditionFuser({"sum": ["genre"], "prepend": [], "cross": [], "input_interpolate": []})
    x, cross = fuser(torch.zeros(2, 5, 16), embedded)
    assert x.shape == (2, 5, 16) and cross is None
    dropped = ClassifierFreeGuidanceDropout(p=1.0).train()(rows)
    assert dropped[0].text["genre"] is None and rows[0].text["genre"] == "rock"


def test_the_parts_of_a_model() -> None:
    lm, codec = load_lm_model("nano"), load_compression_model("nano")
    model = MusicGen("mine", codec, lm)
    assert model.max_duration == lm.cfg.dataset.segment_duration  # type: ignore[union-attr]
    attributes = [ConditioningAttributes(text={"description": "piano"})]
    tokens = lm.generate(None, attributes, max_gen_len=8, top_k=50, temp=0.9, cfg_coef=2.0)
    assert codec.decode(tokens).shape == (1, 1, 8 * 960)
