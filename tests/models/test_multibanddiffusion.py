"""A diffusion decoder: equal seeds give equal audio, pieces are the whole, nothing bad gets in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.audio.files import audio_read, audio_write
from audiocraft.checkpoints.write import write_model
from audiocraft.cli.main import main
from audiocraft.config.decode import encode
from audiocraft.config.diffusion import BandConfig, DiffusionUnetConfig, MultiBandConfig, ProcessorConfig
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import Cancelled, CheckpointError, InvalidInput
from audiocraft.generation.diffusion import DiffusionSettings, PlacedNoise
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import diffusion_windows
from audiocraft.models.codecs.interleaved import InterleaveStereoCompressionModel
from audiocraft.models.conversion import convert
from audiocraft.models.diffusion_files import load_diffusion_models
from audiocraft.models.loaders import load_compression_model, load_decoder, load_model
from audiocraft.models.multibanddiffusion import Bands, MultiBandDiffusion, build_bands

from ..roundings import spread

UNET = DiffusionUnetConfig(
    hidden=8, depth=3, growth=1, conv_blocks=2, frame_norm=True, norm_groups=4, codec_dim=96
)
CONFIG = MultiBandConfig(
    sample_rate=24000,
    codec="nano",
    bands=(
        BandConfig(diffusion_unet=UNET),
        BandConfig(diffusion_unet=UNET, processor=ProcessorConfig(use=True, n_bands=4)),
    ),
)
FAST = DiffusionSettings(steps=4, solver="dpm", seed=3)


@pytest.fixture(scope="module")
def bands() -> Bands:
    """Networks that have learned nothing, which find little noise so that their audio stays in bounds."""
    torch.manual_seed(0)
    made = build_bands(CONFIG)
    for band in made.bands:
        band.model.decoders[-1].convtr.weight.data *= 0.1
    torch.manual_seed(1)
    made.bands[1].processor.project_sample(torch.randn(2, 1, 24000) * 0.1)
    return made.eval()


@pytest.fixture
def mbd(bands: Bands) -> MultiBandDiffusion:
    return MultiBandDiffusion(bands.processes(), load_compression_model("nano"))


def codes(frames: int, rows: int = 1, codebooks: int = 0) -> Tensor:
    codec = load_compression_model("nano")
    count = codebooks or codec.num_codebooks
    return torch.randint(codec.cardinality, (rows, count, frames))


def test_equal_seeds_give_equal_audio(mbd: MultiBandDiffusion) -> None:
    tokens = codes(8)
    first = mbd.tokens_to_wav(tokens, settings=FAST)
    assert torch.equal(first, mbd.tokens_to_wav(tokens, settings=FAST))
    assert not torch.equal(
        first, mbd.tokens_to_wav(tokens, settings=DiffusionSettings(steps=4, solver="dpm"))
    )
    torch.manual_seed(5)
    drawn = mbd.tokens_to_wav(tokens)
    torch.manual_seed(5)
    assert torch.equal(drawn, mbd.tokens_to_wav(tokens))


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm"])
def test_pieces_are_the_whole(mbd: MultiBandDiffusion, monkeypatch: pytest.MonkeyPatch, solver: Any) -> None:
    """Long audio is made in windows; a joint lies no further than 1e-4 from what the whole would be. Networks that have
    learned nothing enlarge rounding errors in places, by 1e5 in four steps; what moves less than 1e-5 is compared."""
    settings = DiffusionSettings(steps=4, solver=solver, seed=1)
    emb = mbd.get_emb(codes(60))
    whole = mbd.generate(emb, settings=settings)
    firm = spread(lambda: mbd.generate(emb, settings=settings)) < 1e-5 * whole.abs().max()
    assert firm.float().mean() > 0.9
    monkeypatch.setattr(diffusion_windows, "STRIDE_S", 0.5)
    pieces = mbd.generate(emb, settings=settings)
    assert mbd.windows.count(60) > 2
    assert ((pieces - whole)[firm]).abs().max() <= 1e-4 * whole.abs().max()


def test_noise_is_a_function_of_its_place() -> None:
    whole = PlacedNoise("a").draw(torch.zeros(2, 1, 70_000))
    part = PlacedNoise("a", start=30_000).draw(torch.zeros(2, 1, 10_000))
    assert torch.equal(part, whole[..., 30_000:40_000])
    assert abs(float(whole.std()) - 1) < 0.02


def test_stereo_codes_are_both_channels(mbd: MultiBandDiffusion) -> None:
    """Interleaved codebooks gave an IndexError in the original."""
    left, right = codes(6), codes(6)
    both = torch.stack([left, right], dim=2).flatten(1, 2)
    wav = mbd.tokens_to_wav(both, settings=FAST)
    assert wav.shape == (1, 2, 6 * 960)
    alone = mbd.generate(mbd.get_emb(torch.cat([left, right])), settings=FAST)
    joined = mbd.re_eq(alone, load_compression_model("nano").decode(torch.cat([left, right])))
    assert torch.allclose(wav[0], joined[:, 0], atol=1e-6)


def test_any_level_any_rate_any_channels(mbd: MultiBandDiffusion) -> None:
    """Quiet audio is brought to a level that networks know, and back: it does not come out as hiss."""
    wav = torch.sin(torch.arange(22050) * 0.05).view(1, 1, -1) * 0.1
    usual = mbd.regenerate(wav, 22050, settings=FAST)
    assert usual.shape == (1, 1, 24000)
    quiet = mbd.regenerate(wav * 1e-2, 22050, settings=FAST)
    gain = float((wav**2).mean().sqrt()) / 0.1
    assert quiet.abs().max() <= 2e-2 * usual.abs().max() / min(1.0, gain)
    assert mbd.regenerate(wav.expand(1, 3, -1), 22050, settings=FAST).shape == (1, 3, 24000)
    assert torch.isfinite(mbd.regenerate(wav * 0, 22050, settings=FAST)).all()


def test_progress_and_cancel(mbd: MultiBandDiffusion) -> None:
    told: list[tuple[int, int]] = []
    mbd.tokens_to_wav(codes(3), settings=FAST, progress=lambda now: told.append((now.done, now.total)))
    assert told[-1] == (8, 8) and len(told) == 8
    token = CancelToken()
    with pytest.raises(Cancelled):
        mbd.tokens_to_wav(codes(3), settings=FAST, progress=lambda _: token.cancel(), cancel=token)


def test_saved_is_loaded(mbd: MultiBandDiffusion, bands: Bands, tmp_path: Path) -> None:
    config: dict[str, Any] = encode(CONFIG)
    write_model(tmp_path, kind="diffusion", config=config, tensors=bands.state_dict())
    loaded = MultiBandDiffusion.get_pretrained(tmp_path, device="cpu")
    tokens = codes(4)
    assert torch.equal(loaded.tokens_to_wav(tokens, settings=FAST), mbd.tokens_to_wav(tokens, settings=FAST))


def test_a_release_is_written_as_it_is_read(golden_dir: Path, tmp_path: Path) -> None:
    """There and back, and from our format too, with every tensor and every configuration of a band."""
    source = golden_dir / "mbd" / "mbd_tiny.th"
    first = convert(source, tmp_path / "release", to="release", kind="diffusion")
    ours = convert(source, tmp_path / "ours", to="ours", kind="diffusion")
    second = convert(ours, tmp_path / "again", to="release", kind="diffusion")
    whole, *others = (
        load_diffusion_models(path)
        for path in (source, first / "mbd_musicgen_32khz.th", second / "mbd_musicgen_32khz.th")
    )
    for models, processors, trees in others:
        for mine, theirs in ((models, whole[0]), (processors, whole[1])):
            for one, other in zip(mine, theirs, strict=True):
                assert one.state_dict().keys() == other.state_dict().keys()
                assert all(
                    torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
                )
        for tree, expected in zip(trees, whole[2], strict=True):
            assert tree["n_q"] == expected["n_q"] and tree["processor"] == expected["processor"]
            assert tree["diffusion_unet"] == expected["diffusion_unet"]


def test_what_the_original_cannot_build_is_no_release(folder: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"network has no .*frame_norm"):
        convert(folder, tmp_path / "x", to="release", kind="diffusion")
    assert not list((tmp_path / "x").glob("*"))


# ------------------------------------------------------------------ as a part of models, and from the shell


@pytest.fixture
def folder(bands: Bands, tmp_path: Path) -> str:
    write_model(tmp_path / "tiny", kind="diffusion", config=encode(CONFIG), tensors=bands.state_dict())
    return str(tmp_path / "tiny")


def test_a_decoder_of_any_model(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes are the model's, the audio is the diffusion's: alone, streamed in windows, in an engine."""
    monkeypatch.setattr(diffusion_windows, "STRIDE_S", 0.5)
    monkeypatch.setattr(diffusion_windows, "CONTEXT_S", 0.5)
    model = load_model("musicgen-nano")
    asked = GenerationRequest(prompts=("rain",), duration=2.0, seeds=(3,), decoder=folder)
    made = model.run(asked)
    assert made.codes is not None and made.audio.shape == (1, 1, 48000)
    assert torch.equal(made.codes, model.run(replace(asked, decoder=None)).codes)
    chunks = [chunk.audio for chunk in model.stream(asked)]
    assert len(chunks) > 1
    assert torch.allclose(torch.cat(chunks, -1), made.audio[0], atol=1e-5)
    engine = Engine(ModelCache())
    ticket = engine.submit(asked, model="musicgen-nano", on_event=lambda event: None)
    assert torch.allclose(ticket.result(120).audio, made.audio, atol=1e-5)
    engine.close()


def test_codes_of_another_codec_are_refused(folder: str) -> None:
    other = load_compression_model("debug")
    with pytest.raises(InvalidInput, match="made for another codec"):
        load_decoder(folder).in_place_of(other)  # type: ignore[attr-defined]


def test_stereo_codes_come_out_in_stereo(folder: str) -> None:
    decoder: Any = load_decoder(folder)
    stereo = decoder.in_place_of(InterleaveStereoCompressionModel(load_compression_model("nano")))
    assert stereo.channels == 2 and decoder.channels == 1
    assert stereo.decode(codes(4, codebooks=8)).shape == (1, 2, 4 * 960)


def test_enhance(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "take.wav", tmp_path / "out.wav"
    wav = 0.1 * torch.sin(torch.arange(8000) * 0.1).expand(2, -1)
    audio_write(source, wav, 16000, add_suffix=False)
    said = ["enhance", str(source), "--decoder", folder, "--steps", "3", "--solver", "dpm", "--quiet", "-o"]
    assert main([*said, str(target)]) == 0
    made, rate = audio_read(target)
    assert rate == 24000 and made.shape == (2, 12000)
    assert main([*said, str(tmp_path / "again.wav")]) == 0
    assert target.read_bytes() == (tmp_path / "again.wav").read_bytes()
    capsys.readouterr()
    for wrong in (
        ["enhance", str(tmp_path / "none.wav")],
        [*said, str(source)],
        [*said[:-3], "--steps", "0"],
    ):
        assert main(wrong) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_bad_input_is_one_line(mbd: MultiBandDiffusion, tmp_path: Path) -> None:
    for call, message in (
        (lambda: mbd.tokens_to_wav(codes(3, codebooks=3)), "stereo"),
        (lambda: mbd.regenerate(torch.zeros(1, 1, 0), 24000), "not empty"),
        (lambda: mbd.regenerate(torch.full((1, 1, 9), torch.nan), 24000), "no numbers"),
        (lambda: mbd.generate(mbd.get_emb(codes(3)), step_list=[3, 5]), "step_list must fall"),
        (lambda: DiffusionSettings(steps=0), "steps"),
        (lambda: DiffusionSettings(solver="euler"), "solver"),  # type: ignore[arg-type]
        (lambda: MultiBandDiffusion.get_mbd_24khz(bw=2.0), "bw must be"),
        (lambda: MultiBandDiffusion.get_pretrained(tmp_path / "nothing"), "nothing"),
    ):
        with pytest.raises((InvalidInput, CheckpointError), match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_network_with_nothing_inside_can_be_built() -> None:
    """As the original's constructor has it by default."""
    from audiocraft.models import DiffusionUnet

    network = DiffusionUnet(chin=1, hidden=4, depth=2, num_steps=10, codec_dim=4)
    audio = torch.randn(2, 1, 301, generator=torch.Generator().manual_seed(1))
    assert network(audio, 3, torch.zeros(2, 4, 5)).sample.shape == audio.shape
    with pytest.raises(InvalidInput, match="at most one"):
        DiffusionUnet(chin=1, bilstm=True, transformer=True)


def test_a_codec_that_quantises_nothing() -> None:
    """Its frames are what the network is guided by, of whatever width."""
    from audiocraft.models import DiffusionUnet, EncodecModel
    from audiocraft.models.multibanddiffusion import DiffusionProcess
    from audiocraft.modules import SEANetDecoder, SEANetEncoder
    from audiocraft.modules.diffusion_schedule import NoiseSchedule
    from audiocraft.quantization import DummyQuantizer

    shape = {"channels": 1, "dimension": 16, "n_filters": 2, "n_residual_layers": 1, "ratios": [5, 4, 3, 2]}
    codec = EncodecModel(
        SEANetEncoder(**shape),
        SEANetDecoder(**shape),
        DummyQuantizer(),
        frame_rate=200,
        sample_rate=24000,
        channels=1,
    )
    network = DiffusionUnet(chin=1, hidden=4, depth=2, num_steps=1000, codec_dim=16)
    process = DiffusionProcess(model=network, noise_schedule=NoiseSchedule(device="cpu", num_steps=1000))
    wav = torch.randn(2, 1, 999, generator=torch.Generator().manual_seed(1))
    assert MultiBandDiffusion(DPs=[process], codec_model=codec).regenerate(wav, 24000).shape == wav.shape
