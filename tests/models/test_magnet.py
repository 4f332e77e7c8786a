"""MAGNeT: a row is what it is alone, what is kept stays bit for bit, several models share an engine."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.write import write_release
from audiocraft.config.conditioning import FuserConfig
from audiocraft.config.magnet import MagnetTransformerConfig
from audiocraft.engine.engine import Engine
from audiocraft.engine.model_cache import ModelCache
from audiocraft.errors import AudioCraftError, Cancelled, InvalidInput
from audiocraft.generation.progress import CancelToken
from audiocraft.generation.request import GenerationRequest, Guidance, MaskedSettings, Sampling
from audiocraft.models import MAGNeT, MusicGen
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.models.loaders import load_model
from audiocraft.modules.backend import machine_kernels
from tests import tiny_magnet
from tests.together import frames_alone, frames_together

PATIENCE = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_magnet.write(tmp_path_factory.mktemp("magnet"))


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough that all of its matrices can have eight bits and four."""
    shape = MagnetTransformerConfig(dim=64, num_heads=2, num_layers=2, n_q=4, card=400)
    return tiny_magnet.write(tmp_path_factory.mktemp("wide"), transformer_lm=shape)


@pytest.fixture(scope="module")
def model(folder: Path) -> MAGNeT:
    found = load_model(folder)
    assert isinstance(found, MAGNeT)
    return found


def request(*prompts: str, **settings: Any) -> GenerationRequest:
    prompts = prompts or ("rain",)
    given = {"duration": 2.0, "seeds": tuple(range(len(prompts)))}
    return GenerationRequest(prompts=prompts, **{**given, **settings})


def sound(seconds: float, rows: int = 1) -> Tensor:
    return torch.rand(rows, 1, int(32000 * seconds), generator=torch.Generator().manual_seed(3)) - 0.5


def codes(model: MAGNeT, asked: GenerationRequest) -> Tensor:
    found = model.run(asked).codes
    assert found is not None
    return found


def test_every_code_is_made(model: MAGNeT) -> None:
    found = codes(model, request("rain", "jazz"))
    assert found.shape == (2, 4, 50)
    assert 0 <= int(found.min()) and int(found.max()) < 400


def test_a_row_is_what_it_is_alone(model: MAGNeT) -> None:
    together = codes(model, request("rain", "jazz trio", seeds=(5, 6)))
    assert torch.equal(together[1:], codes(model, request("jazz trio", seeds=(6,))))
    assert not torch.equal(together[0], together[1])


def test_same_seed_same_codes(model: MAGNeT) -> None:
    assert torch.equal(codes(model, request()), codes(model, request()))
    assert not torch.equal(codes(model, request()), codes(model, request(seeds=(9,))))


@pytest.mark.parametrize("arrangement", ["nonoverlap", "stride1"])
@pytest.mark.parametrize(
    "regions", [((0.0, 0.6),), ((0.4, 1.0), (1.2, 1.4)), ((0.0, 0.2), (0.3, 0.5), (1.0, 2.0))]
)
def test_what_is_kept_stays(
    model: MAGNeT, regions: tuple[tuple[float, float], ...], arrangement: str
) -> None:
    audio = sound(2.0)
    asked = request(
        keep=regions,
        audio=audio,
        audio_sample_rate=32000,
        masked=MaskedSettings(span_arrangement=arrangement),
    )
    found, original = codes(model, asked), model.compression_model.encode(audio)[0]
    kept = torch.zeros(50, dtype=torch.bool)
    for start, end in regions:
        kept[round(start * 25 - 0.49) : round(end * 25 + 0.49)] = True
    assert torch.equal(found[..., kept], original[..., kept])
    assert not torch.equal(found[..., ~kept], original[..., ~kept])


@pytest.mark.parametrize("chunk", [0.2, 5.0])
def test_kept_samples_are_those_of_the_audio(model: MAGNeT, chunk: float) -> None:
    """Beyond the crossfades inside each region, made whole or as a stream."""
    audio = sound(2.0)
    asked = request(keep=((0.0, 0.6), (1.0, 1.4)), audio=audio, audio_sample_rate=32000)
    made = model.run(asked).audio
    stream = torch.cat([each.audio for each in model.stream(asked, chunk_seconds=chunk)], -1)
    for found in (made[0], stream):
        for first, stop in ((0, 18200), (33000, 43800)):
            assert torch.equal(found[:, first:stop], audio[0, :, first:stop])
    torch.testing.assert_close(stream, made[0], atol=2e-4, rtol=0)


def test_a_long_piece_with_regions(model: MAGNeT) -> None:
    """Several windows, one of which is kept whole, and the audio ends before the piece."""
    audio = sound(9.0)
    asked = request(duration=11.0, keep=((1.0, 2.0), (3.0, 9.0)), audio=audio, audio_sample_rate=32000)
    found, original = codes(model, asked), model.compression_model.encode(audio)[0]
    assert found.shape[-1] == 275
    assert torch.equal(found[..., 25:50], original[..., 25:50])
    assert torch.equal(found[..., 75:225], original[..., 75:225])


def test_a_continuation_begins_with_its_prompt(model: MAGNeT) -> None:
    audio = sound(0.8)
    found = codes(model, request(prompt_audio=audio, prompt_sample_rate=32000))
    assert torch.equal(found[..., :20], model.compression_model.encode(audio)[0])


def test_a_stream_is_the_run(model: MAGNeT) -> None:
    asked = request(duration=6.0)
    chunks = list(model.stream(asked))
    assert torch.allclose(
        torch.cat([chunk.audio for chunk in chunks], -1), model.run(asked).audio[0], atol=2e-5
    )
    assert len(chunks) > 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"keep": ((0, 1),)}, "give the audio"),
        ({"audio": sound(1.0), "audio_sample_rate": 32000}, "say which, in keep"),
        ({"keep": ((0, 1), (0.5, 1.5)), "audio": sound(2.0), "audio_sample_rate": 32000}, "begins before"),
        ({"keep": ((1, 3),), "audio": sound(3.0), "audio_sample_rate": 32000}, "not inside the piece"),
        ({"keep": ((0, 1.5),), "audio": sound(1.0), "audio_sample_rate": 32000}, "not inside the audio"),
        ({"keep": ((1, 1),), "audio": sound(1.0), "audio_sample_rate": 32000}, "end after it starts"),
        ({"keep": ((0, 2),), "audio": sound(2.0), "audio_sample_rate": 32000}, "leaves nothing"),
        ({"keep": (("a", 2),), "audio": sound(2.0), "audio_sample_rate": 32000}, "must be a number"),
        ({"keep": "0-4"}, "must be a list"),
        ({"keep": ((0, 1),), "audio": sound(1.0), "audio_sample_rate": 0}, "sample_rate"),
    ],
)
def test_bad_regions_are_one_line(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as found:
        request(**settings)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("steps", [0, (0,), (4, 0), (), 100_000_000, (20, 1001)])
def test_no_steps_and_endless_ones_are_refused(steps: Any) -> None:
    with pytest.raises(InvalidInput, match="1 to 1000 steps"):
        MaskedSettings(steps=steps)


def test_too_many_steps_and_unknown_spans_are_refused(model: MAGNeT) -> None:
    with pytest.raises(InvalidInput, match="4 codebooks"):
        model.run(request(masked=MaskedSettings(steps=(1, 2, 3, 4, 5))))
    with pytest.raises(InvalidInput, match="nonoverlap, stride1"):
        model.set_generation_params(span_arrangement="wide")


def test_other_models_keep_nothing() -> None:
    asked = request(keep=((0, 1),), audio=sound(1.0), audio_sample_rate=32000)
    with pytest.raises(AudioCraftError, match="takes no keep"):
        MusicGen.get_pretrained("debug").run(asked)
    with pytest.raises(InvalidInput, match="masks nothing"):
        MusicGen.get_pretrained("debug").run(request(masked=MaskedSettings(steps=(3,))))


def test_each_facade_refuses_the_other(folder: Path) -> None:
    with pytest.raises(AudioCraftError, match="load_model"):
        MAGNeT.get_pretrained("debug")
    with pytest.raises(AudioCraftError, match="load_model"):
        MusicGen.get_pretrained(str(folder))


def test_cancel_stops_within_a_step(model: MAGNeT) -> None:
    token, steps = CancelToken(), []

    def stop(progress: Any) -> None:
        steps.append(progress)
        token.cancel()

    with pytest.raises(Cancelled):
        model.run(request(), progress=stop, cancel=token)
    assert len(steps) == 1 and steps[0].total == 10


def test_together_is_alone_beside_another_family(folder: Path, model: MAGNeT) -> None:
    music = MusicGen.get_pretrained("debug").run(request())
    alone = [codes(model, request(seeds=(seed,))) for seed in range(3)]
    engine = Engine(ModelCache(), max_rows=16)
    others = engine.submit(request(), model="debug", on_event=lambda event: None)
    tickets = [
        engine.submit(
            request(seeds=(seed,)), model=str(folder), on_event=lambda event: None, stream=seed == 1
        )
        for seed in range(3)
    ]
    for ticket, expected in zip(tickets, alone, strict=True):
        found = ticket.result(PATIENCE).codes
        assert found is not None and torch.equal(found, expected)
    assert torch.allclose(others.result(PATIENCE).audio, music.audio, atol=2e-5)
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4", "bf16"])
def test_eight_of_different_lengths_at_once(
    wide_folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that are at other lengths and codebooks share their passes where the kernels multiply, and each gets the
    codes that it gets alone; with fp32, where torch multiplies, each has passes of its own."""
    shared: list[int] = []
    strands_logits = MagnetLMModel.strands_logits

    def counted(lm: MagnetLMModel, strands: Any) -> list[Tensor]:
        shared.append(len(strands))
        return strands_logits(lm, strands)

    asked = [
        request(*["jazz", "rain"][: 1 + (seed == 3)], seeds=tuple(range(seed, seed + 1 + (seed == 3))),
                duration=0.8 + 0.6 * (seed % 3), masked=MaskedSettings(steps=(3 + seed % 2, 2)))
        for seed in range(8)
    ]  # fmt: skip
    model = MAGNeT.get_pretrained(str(wide_folder), precision=precision)
    alone = [frames_alone(model, one) for one in asked]
    monkeypatch.setattr(MagnetLMModel, "strands_logits", counted)
    for found, expected in zip(frames_together(model, asked), alone, strict=True):
        assert torch.equal(found, expected)
    assert max(shared, default=0) > 1 if model.lm.shares_passes else not shared
    assert model.lm.shares_passes == (precision != "fp32" and machine_kernels() is not None)


def test_the_released_form_is_the_same_model(tmp_path: Path) -> None:
    ours = tiny_magnet.write(tmp_path / "ours", conditioners={}, fuser=FuserConfig())
    write_release(tmp_path / "released", read(ours, kind="lm"))
    shutil.copytree(ours / "codec", tmp_path / "released" / "codec")
    found = [load_model(folder) for folder in (ours, tmp_path / "released")]
    one, other = (codes(each, request()) for each in found)  # type: ignore[arg-type]
    assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["int8", "int4", "bf16"])
def test_packed_weights(folder: Path, precision: str) -> None:
    other = MAGNeT.get_pretrained(str(folder), precision=precision)
    assert other.precision == precision
    assert codes(other, request()).shape == (1, 4, 50)


def test_settings_of_a_request_win(model: MAGNeT) -> None:
    greedy = request(sampling=Sampling(temperature=0), plans=(None,))
    assert torch.equal(codes(model, greedy), codes(model, replace(greedy, seeds=(8,))))
    weak = replace(greedy, guidance=Guidance(coef=0.0))
    assert not torch.equal(codes(model, greedy), codes(model, weak))


def test_generate_makes_whole_spans(model: MAGNeT) -> None:
    model.set_generation_params(decoding_steps=[2, 1])
    wav, tokens = model.generate(["rain"], return_tokens=True)
    assert tokens.shape[-1] == 99 and wav.shape[-1] == 99 * 1280
    assert codes(model, request(duration=4.0)).shape[-1] == 100


def test_a_rescorer_counts_as_much_as_its_weight_says(model: MAGNeT) -> None:
    """The second opinion changes which spans are made again; at weight 0 nothing, and a row stays what it is alone."""

    def judged(weight: float, *prompts: str, seeds: tuple[int, ...] = (5,)) -> Tensor:
        settings = MaskedSettings(rescorer="debug", rescorer_weight=weight)
        return codes(model, request(*prompts, seeds=seeds, masked=settings))

    plain = codes(model, request("jazz", seeds=(5,)))
    assert torch.equal(judged(0.0, "jazz"), plain)
    full = judged(1.0, "jazz")
    assert not torch.equal(full, plain)
    assert torch.equal(judged(1.0, "jazz"), full)
    both = judged(1.0, "folk", "jazz", seeds=(4, 5))
    assert torch.equal(both[1:], full)


def test_memory_of_a_second_opinion_is_counted(model: MAGNeT) -> None:
    plain = model.estimate(request())
    judged = model.estimate(request(masked=MaskedSettings(rescorer="musicgen-nano")))
    assert judged.bytes > plain.bytes and judged.rows == plain.rows
