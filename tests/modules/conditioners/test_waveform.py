"""Melodies: each row is read on its own, whatever shares its batch, and separation happens where it can."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiocraft.audio.files import audio_write
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.modules.conditioners import ChromaStemConditioner, WavCondition, stems
from audiocraft.modules.conditioners.dropout import nullify_wav
from audiocraft.modules.conditioners.provider import collate_wavs

RATE = 8000


@pytest.fixture
def conditioner() -> ChromaStemConditioner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = ChromaStemConditioner(8, RATE, n_chroma=12, radix2_exp=9, duration=2.0, argmax=True)
    return built.eval()


def notes(*played: int, seconds: float = 0.5, rate: int = RATE) -> Tensor:
    """A melody [1, N] of MIDI notes."""
    time = torch.arange(int(seconds * rate)) / rate
    return torch.cat([torch.sin(2 * math.pi * 440 * 2 ** ((n - 69) / 12) * time) for n in played])[None]


def row(wav: Tensor | None, rate: int = RATE) -> WavCondition:
    if wav is None:
        return WavCondition(torch.zeros(1, 1, 1), torch.tensor([0]), [rate], [None], [None])
    return WavCondition(wav[None], torch.tensor([wav.shape[-1]]), [rate], [None], [0.0])


def embed(conditioner: ChromaStemConditioner, *rows: WavCondition) -> Tensor:
    embedding, mask = conditioner(conditioner.tokenize(collate_wavs(rows)))
    assert mask.shape == embedding.shape[:2] and mask.dtype == torch.int
    return embedding.detach()


def test_a_melody_is_its_notes_repeated(conditioner: ChromaStemConditioner) -> None:
    embedding = embed(conditioner, row(notes(60, 64)))
    assert embedding.shape == (1, conditioner.chroma_len, 8)
    classes = [tuple(step.tolist()) for step in embedding[0, [2, 40, 66, 104]]]
    assert classes[0] == classes[2] != classes[1] == classes[3]


def test_rows_do_not_depend_on_each_other(conditioner: ChromaStemConditioner) -> None:
    """Upstream padded short melodies with silence where they shared a batch with long ones."""
    rows = [row(notes(60, 67)), row(None), row(notes(62, 69, 71, 74, 76)), row(notes(60, rate=12000), 12000)]
    together = embed(conditioner, *rows)
    for index, one in enumerate(rows):
        torch.testing.assert_close(together[index], embed(conditioner, one)[0], atol=1e-6, rtol=0)
    second = embed(conditioner, row(notes(60, 67)), nullify_wav(rows[0]))[1]
    torch.testing.assert_close(second, together[1], atol=1e-6, rtol=0)


def test_no_melody_is_the_same_for_all_lengths(conditioner: ChromaStemConditioner) -> None:
    null = embed(conditioner, row(None))
    assert torch.equal(null, null[:, :1].expand_as(null))


def test_melody_without_matching_the_length(conditioner: ChromaStemConditioner) -> None:
    conditioner.match_len_on_eval = False
    short, long = notes(60), notes(62, 64, 65)
    embedding, mask = conditioner(conditioner.tokenize(collate_wavs([row(short), row(long)])))
    assert embedding.shape[1] == conditioner.chroma.num_frames(long.shape[-1])
    assert mask[0].sum() == math.ceil(short.shape[-1] / conditioner.chroma.winhop)
    assert not embedding[0, mask[0] == 0].any()


def test_in_training_what_is_missing_is_masked(conditioner: ChromaStemConditioner) -> None:
    conditioner.train()
    embedding = embed(conditioner, row(notes(60, 62)), row(None))
    assert embedding.shape[1] == conditioner.chroma_len and not embedding[1].any()
    conditioner(conditioner.tokenize(row(notes(60))))[0].sum().backward()
    assert conditioner.output_proj.weight.grad is not None


def test_separation_is_asked_once_per_melody(conditioner: ChromaStemConditioner) -> None:
    """Guidance repeats rows; separating them again would double the cost."""
    calls = []

    def stemmed(wav: Tensor, sample_rate: int) -> Tensor:
        calls.append((tuple(wav.shape), sample_rate))
        return wav

    conditioner._get_stemmed_wav = stemmed  # type: ignore[method-assign]
    melody = notes(60, 64)
    embed(conditioner, row(melody), row(melody), row(None), row(notes(65, 60)), row(melody))
    assert calls == [((1, 1, melody.shape[-1]), RATE)] * 2


def test_without_demucs_it_is_said_once(conditioner: ChromaStemConditioner, caplog: Any) -> None:
    stems.warn_without_stems.cache_clear()
    with caplog.at_level(logging.WARNING):
        embed(conditioner, row(notes(60)))
        embed(conditioner, row(notes(62)))
    assert [record.message for record in caplog.records if "demucs" in record.message] == [
        caplog.records[0].message
    ]


def fake_demucs(monkeypatch: pytest.MonkeyPatch, get_model: Any) -> None:
    """Stems are fixed parts of the mix, at twice the rate and in stereo."""

    def apply_model(model: Any, mix: Tensor, **options: Any) -> Tensor:
        assert mix.shape[1] == 2 and options["shifts"] == 0
        return torch.stack([mix * part for part in (8.0, 4.0, 2.0, 1.0)], dim=1)

    modules = {"demucs": ModuleType("demucs"), "demucs.apply": ModuleType("demucs.apply")}
    modules["demucs.pretrained"] = ModuleType("demucs.pretrained")
    modules["demucs.apply"].apply_model = apply_model  # type: ignore[attr-defined]
    modules["demucs.pretrained"].get_model = get_model  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(stems, "can_separate", lambda: True)
    stems._separator.cache_clear()


class Separator(torch.nn.Module):
    sources = ("drums", "bass", "other", "vocals")
    samplerate = 2 * RATE
    audio_channels = 2


def test_drums_and_bass_are_left_out(
    conditioner: ChromaStemConditioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_demucs(monkeypatch, lambda name: Separator())
    melody = notes(60)[None]
    heard = conditioner._get_stemmed_wav(melody, RATE)
    torch.testing.assert_close(heard[..., 50:-50], 3 * melody[..., 50:-50], rtol=0, atol=2e-2)
    assert heard.shape == melody.shape


def test_missing_separator_weights_are_named(
    conditioner: ChromaStemConditioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str) -> Any:
        raise OSError("no route to host")

    fake_demucs(monkeypatch, unreachable)
    with pytest.raises(CheckpointError, match="htdemucs"):
        conditioner._get_stemmed_wav(notes(60)[None], RATE)


def test_evaluation_melodies_replace_the_given(conditioner: ChromaStemConditioner) -> None:
    given, other = row(notes(60, 62)), notes(69, 71, 72, 74)
    plain, null = embed(conditioner, given), embed(conditioner, row(None))
    assert not conditioner.has_eval_wavs()
    conditioner.reset_eval_wavs(other[None])
    assert conditioner.has_eval_wavs()
    both = embed(conditioner, given, row(None))
    assert torch.allclose(both[1], null[0], atol=1e-6, rtol=0), "a row without melody stays without"
    conditioner.fill_context()
    assert torch.equal(embed(conditioner, given), plain)
    torch.testing.assert_close(both[:1], embed(conditioner, row(other)), atol=1e-6, rtol=0)
    with pytest.raises(InvalidInput, match="evaluate"):
        conditioner.reset_eval_wavs(torch.zeros(2, 2, 5))


def test_training_keeps_the_chroma_of_files(tmp_path: Path) -> None:
    file = tmp_path / "melody.wav"
    audio_write(tmp_path / "melody", 0.5 * notes(60, 62, 64, 65, 67, 69), RATE, strategy="clip")
    cached = ChromaStemConditioner(
        8, RATE, n_chroma=12, radix2_exp=9, duration=1.0, argmax=True, cache_path=tmp_path / "chroma"
    )
    cached.train()
    calls = []
    inner = cached._get_stemmed_wav
    cached._get_stemmed_wav = lambda *given: calls.append(1) or inner(*given)  # type: ignore[method-assign]
    wav = torch.zeros(1, 1, RATE)  # the cache reads the file, not this
    features = []
    for start in (0.0, 0.0, 1.0):
        x = WavCondition(wav, torch.tensor([RATE]), [RATE], [str(file)], [start])
        features.append(cached._get_wav_embedding(cached.tokenize(x)))
    assert len(calls) == 1 and torch.equal(features[0], features[1])
    assert [int(features[i][0, 3].argmax()) for i in (0, 2)] == [0, 4]
    fresh = ChromaStemConditioner(
        8, RATE, n_chroma=12, radix2_exp=9, duration=1.0, argmax=True, cache_path=tmp_path / "chroma"
    ).train()
    fresh._get_stemmed_wav = None  # type: ignore[method-assign, assignment]
    x = WavCondition(wav, torch.tensor([RATE]), [RATE], [str(file)], [1.0])
    assert torch.equal(fresh._get_wav_embedding(fresh.tokenize(x)), features[2])
    audio_write(tmp_path / "melody", 0.5 * notes(72, 71, 72, 71, 72, 71), RATE, strategy="clip")
    again = cached._get_wav_embedding(cached.tokenize(x))
    assert len(calls) == 2 and not torch.equal(again, features[2])  # another melody of that name


def test_golden(golden_dir: Path) -> None:
    folder = golden_dir / "musicgen_melody"
    want = load_file(folder / "expected" / "melody_condition.safetensors")
    weights = torch.load(folder / "state_dict.bin", weights_only=True)["best_state"]
    prefix = "condition_provider.conditioners.self_wav."
    conditioner = ChromaStemConditioner(
        32, 16000, n_chroma=12, radix2_exp=12, duration=20.0, match_len_on_eval=False, argmax=True
    )
    conditioner.load_state_dict(
        {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    )
    conditioner.eval().fill_context()
    melody = load_file(folder / "inputs.safetensors")["melody"]
    embedding, mask = conditioner(conditioner.tokenize(collate_wavs([row(wav, 16000) for wav in melody])))
    torch.testing.assert_close(embedding, want["chroma_embed"], rtol=0, atol=1e-4)
    assert torch.equal(mask.float(), want["chroma_mask"])
    null = conditioner(conditioner.tokenize(row(None, 16000)))[0]
    torch.testing.assert_close(null, want["null_embed"], rtol=0, atol=1e-4)
