"""Watermarks: both pairs of networks behind one interface, in pieces and whole, at any rate, and bad input."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import decode, encode
from audiocraft.config.watermark import WatermarkConfig
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models import AudioSeal, WMModel
from audiocraft.models.builders import get_watermark_model
from audiocraft.models.conversion import convert
from audiocraft.models.loaders import load_audioseal_models
from audiocraft.models.watermark import build_watermark
from audiocraft.models.watermarks.marking import Watermark
from audiocraft.modules.watermark import mix, pad

RATE = 16000
TREES = {
    "seanet": {
        "audioseal": {"autoencoder": "seanet", "nbits": 16},
        "seanet": {"dimension": 8, "n_filters": 2, "lstm": 1, "norm": "none"},
        "detector": {"output_dim": 4},
    },
    "modulation": {"audioseal": {"autoencoder": "modulation", "nbits": 16}},
}
MESSAGE = torch.tensor([0, 1] * 8)


def music(seconds: float, rate: int = RATE, channels: int = 1) -> Tensor:
    """Chords with a beat, and a little noise."""
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(int(seconds * rate)) / rate
    tones = sum(torch.sin(2 * torch.pi * hertz * time) / hertz**0.3 for hertz in (220, 330, 550, 880, 1760))
    noise = torch.randn(channels, len(time), generator=generator)
    return (0.1 * tones * (1 + 0.3 * torch.sin(4 * time)) + 0.05 * noise)[None]


@pytest.fixture(params=sorted(TREES))
def model(request: pytest.FixtureRequest) -> AudioSeal:
    return build_watermark(decode(WatermarkConfig, TREES[request.param])).eval()


@pytest.fixture
def released(golden_dir: Path) -> Path:
    return golden_dir / "audioseal"


def in_pieces(push: Callable[[Tensor], Tensor], finish: Callable[[], Tensor], wav: Tensor) -> Tensor:
    parts, place = [], 0
    for size in [1, 777, 20_000, 3, 5000] * 20:
        parts.append(push(wav[..., place : place + size]))
        place += size
        if place >= wav.shape[-1]:
            break
    return torch.cat([*parts, finish()], dim=-1)


@torch.inference_mode()
def test_streams_give_the_whole(model: AudioSeal) -> None:
    wav = music(3.3)
    mark = model.get_watermark(wav, MESSAGE)[0]
    stream = Watermark(model.generator, MESSAGE).open(RATE, 1)
    torch.testing.assert_close(
        in_pieces(stream.push, stream.finish, wav[0]), wav[0] + mark, rtol=0, atol=1e-5
    )
    decisions = model.detect_watermark(wav + mark)
    found = model.detector.open_decisions(1)
    pieces = in_pieces(found.push, found.finish, (wav[0] + mark))
    torch.testing.assert_close(pieces, decisions, rtol=0, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("rate", [8000, 24000, 32000, 44100])
def test_any_rate_in_stereo(model: AudioSeal, rate: int) -> None:
    """Only the mark is resampled, and a stream of stereo is the whole."""
    wav = music(1.7, rate, channels=2)
    mark = model.get_watermark(wav, MESSAGE, sample_rate=rate)
    assert mark.shape == wav.shape
    stream = Watermark(model.generator, MESSAGE).open(rate, 2)
    made = in_pieces(stream.push, stream.finish, wav[0])
    torch.testing.assert_close(made, (wav + mark)[0], rtol=0, atol=2e-5)


@torch.inference_mode()
def test_the_even_patterns_are_found_before_any_training() -> None:
    """What the small networks have in common from the start tells marked from clean, and reads most bits."""
    model = build_watermark(decode(WatermarkConfig, TREES["modulation"]))
    wav = music(6.0)
    marked = model(wav, message=MESSAGE)
    found, clean = model.detect_watermark(marked)[0], model.detect_watermark(wav)[0]
    assert float(found[1].mean()) > 0.6 > 0.5 > float(clean[1].mean())
    assert float(((found[2:].mean(-1) > 0) == (MESSAGE > 0)).float().mean()) > 0.8
    ratio = 10 * torch.log10(wav.square().mean() / (marked - wav).square().mean())
    assert 20 < float(ratio) < 40


@torch.inference_mode()
def test_rows_do_not_hear_each_other(model: AudioSeal) -> None:
    wav = torch.cat([music(1.0), 0.3 * music(1.0).flip(-1)])
    both = model.get_watermark(wav, MESSAGE)
    for row in range(2):
        alone = model.get_watermark(wav[row : row + 1], MESSAGE)
        torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-5)


def test_a_message_is_drawn_where_none_is_given(model: AudioSeal) -> None:
    torch.manual_seed(1)
    first = model.get_watermark(music(0.5))
    torch.manual_seed(1)
    assert torch.equal(first, model.get_watermark(music(0.5)))
    assert not torch.equal(first, model.get_watermark(music(0.5)))


@torch.inference_mode()
def test_short_and_empty_audio(model: AudioSeal) -> None:
    for count in (0, 1, 160):
        wav = torch.randn(1, 1, count) * 0.1
        assert model(wav, message=MESSAGE).shape == wav.shape
        assert model.detect_watermark(wav).shape == (1, 18, count)


@torch.inference_mode()
def test_silence_has_no_room_for_a_mark() -> None:
    model = build_watermark(decode(WatermarkConfig, TREES["modulation"]))
    assert not bool(model.get_watermark(torch.zeros(1, 1, RATE), MESSAGE).any())


@pytest.mark.parametrize(
    ("wav", "message", "words"),
    [
        (torch.zeros(1, 1, 100), torch.zeros(17), "has 16 bits, got 17"),
        (torch.zeros(1, 1, 100), torch.full((16,), 2), "made of 0 and 1"),
        (torch.zeros(2, 1, 100), torch.zeros(3, 16), "3 messages for 2 pieces"),
        (torch.full((1, 1, 100), torch.nan), torch.zeros(16), "infinite or undefined"),
        (torch.zeros(1, 6, 100), torch.zeros(16), "mono or stereo, got 6 channels"),
        (torch.zeros(100), torch.zeros(16), r"\[batch, channels, samples\]"),
    ],
)
def test_bad_input_is_one_clear_line(model: AudioSeal, wav: Tensor, message: Tensor, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        model.get_watermark(wav, message)
    assert "\n" not in str(refused.value)


def test_a_mark_without_message(released: Path) -> None:
    tree = {**TREES["modulation"], "audioseal": {"autoencoder": "modulation", "nbits": 0}}
    model = get_watermark_model(tree)
    assert isinstance(model, AudioSeal) and model.nbits == 0
    wav = music(1.0)
    assert model.detect_watermark(model(wav)).shape == (1, 2, wav.shape[-1])
    with pytest.raises(InvalidInput, match="carries no message"):
        model.get_watermark(wav, MESSAGE)


def test_saved_and_loaded_is_the_same(model: AudioSeal, tmp_path: Path) -> None:
    tree = TREES["seanet" if "SEANet" in type(model.generator).__name__ else "modulation"]
    config = encode(decode(WatermarkConfig, tree))
    folder = write_model(tmp_path / "mine", kind="watermark", config=config, tensors=model.state_dict())
    loaded = load_audioseal_models(folder)
    assert isinstance(loaded, WMModel)
    wav = music(0.5)
    with torch.inference_mode():
        assert torch.equal(model.get_watermark(wav, MESSAGE), loaded.get_watermark(wav, MESSAGE))
        assert torch.equal(model.detect_watermark(wav), loaded.detect_watermark(wav))


@torch.inference_mode()
def test_halves_of_a_release(released: Path, tmp_path: Path) -> None:
    """The calls of the package `audioseal`; each half loads without the other's file."""
    whole = AudioSeal.get_pretrained(str(released), device="cpu")
    for half in ("generator", "detector"):
        (tmp_path / half).mkdir()
        for name in (f"{half}_base.pth", "base.yaml"):
            shutil.copyfile(released / name, tmp_path / half / name)
    generator = AudioSeal.load_generator(tmp_path / "generator", nbits=16)
    detector = AudioSeal.load_detector(tmp_path / "detector" / "detector_base.pth")
    wav = music(1.0)
    mark = generator.get_watermark(wav, sample_rate=RATE, message=MESSAGE)
    assert torch.equal(mark, whole.get_watermark(wav, MESSAGE))
    torch.testing.assert_close(generator(wav, RATE, MESSAGE, alpha=0.5), wav + 0.5 * mark)
    found, message = detector(wav, RATE)
    assert torch.equal(found, whole.detect_watermark(wav)[:, :2])
    assert message.shape == (1, 16)
    share, bits = detector.detect_watermark(wav, RATE)
    assert 0 <= share <= 1 and set(bits.flatten().tolist()) <= {0, 1}
    with pytest.raises(CheckpointError, match="carries 16 bits, not 8"):
        AudioSeal.load_generator(tmp_path / "generator", nbits=8)


@torch.inference_mode()
def test_a_release_is_written_as_it_is_read(released: Path, tmp_path: Path) -> None:
    """From the released form, and from ours; the files have the released names of tensors."""
    ours = convert(released, tmp_path / "ours", to="ours", kind="watermark")
    wav, whole = music(0.5), load_audioseal_models(released)
    for number, source in enumerate((released, ours)):
        made = convert(source, tmp_path / str(number), to="release", kind="watermark")
        assert {path.name for path in made.iterdir()} == {
            "generator_base.pth",
            "detector_base.pth",
            "base.yaml",
        }
        for name in ("generator_base.pth", "detector_base.pth"):
            mine, theirs = (torch.load(folder / name)["model"] for folder in (made, released))
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
        again = load_audioseal_models(made)
        assert torch.equal(again.get_watermark(wav, MESSAGE), whole.get_watermark(wav, MESSAGE))
        assert torch.equal(again.detect_watermark(wav), whole.detect_watermark(wav))
    with pytest.raises(CheckpointError, match="cannot build a watermark of"):
        convert("audioseal-nano", tmp_path / "x", to="release")


def test_a_release_without_its_configuration(released: Path, tmp_path: Path) -> None:
    """The shapes say the widths."""
    for name in ("generator_base.pth", "detector_base.pth"):
        shutil.copyfile(released / name, tmp_path / name)
    alone = load_audioseal_models(tmp_path)
    assert torch.equal(
        alone.get_watermark(music(0.3), MESSAGE),
        load_audioseal_models(released).get_watermark(music(0.3), MESSAGE),
    )


def test_the_official_files_would_fit(golden_dir: Path) -> None:
    with gzip.open(golden_dir.parent / "manifests" / "audioseal.json.gz") as file:
        files = json.load(file)["files"]
    tree = yaml.safe_load(files["base.yaml"]["cfg_yaml"])
    model = build_watermark(WatermarkConfig.select(tree), device="meta")
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    for half in ("generator", "detector"):
        for name, (shape, _) in files[f"{half}_base.pth"]["state"].items():
            old = name.replace("parametrizations.weight.original0", "weight_g")
            old = old.replace("parametrizations.weight.original1", "weight_v")
            assert own.pop(f"{half}.{old}") == shape
    assert not own


def test_parts_without_a_mark() -> None:
    clean, marked = torch.zeros(3, 1, 1000), torch.ones(3, 1, 1000)
    for central in (False, True):
        kept, mask = pad(marked, central=central)
        assert torch.equal(kept, mask) and 0.3 < float(mask.mean()) < 0.7
    changed, mask = mix(clean, marked, window_size=0.25)
    assert torch.equal(changed, mask) and float(mask.mean()) == 0.75
    changed, mask = mix(clean, marked, window_size=0.5, shuffle=True)
    assert torch.equal(changed, mask)
