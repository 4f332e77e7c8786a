"""Whatever is written or streamed has been through the finishing step, which the sidecar records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from audiocraft.audio.files import audio_read
from audiocraft.audio.finishing import Finish, finished
from audiocraft.audio.loudness import true_peak
from audiocraft.generation.events import AudioChunk
from audiocraft.generation.progress import Progress
from audiocraft.generation.request import GenerationRequest
from audiocraft.generation.session import Session
from audiocraft.models import MusicGen
from audiocraft.models.generator import PreparedRequest
from audiocraft.workflows.live import render_live
from audiocraft.workflows.render import SUFFIXES, read_recipe, render
from audiocraft.workflows.takes import FaultyAudio, take_seed


@dataclass
class Bell:
    """A processor that puts a tone of three times full scale in the place of what a model made."""

    place: int = 0

    def open(self, sample_rate: int, channels: int) -> Bell:
        return Bell()

    def push(self, audio: Tensor) -> Tensor:
        times = torch.arange(self.place, self.place + audio.shape[-1])
        self.place += audio.shape[-1]
        return (3.0 * torch.sin(0.09 * times) * torch.sin(0.0007 * times)).expand_as(audio)

    def finish(self) -> Tensor:
        return torch.zeros(1, 0)


@pytest.fixture(scope="module")
def model() -> MusicGen:
    return MusicGen.get_pretrained("debug")


def loud(seconds: float = 0.7) -> GenerationRequest:
    return GenerationRequest(prompts=("rock",), duration=seconds, seeds=(1,), processors=(Bell(),))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("live", [False, True])
def test_no_file_peaks_above_the_ceiling_or_ends_with_a_click(
    model: MusicGen, tmp_path: Path, suffix: str, live: bool
) -> None:
    path = tmp_path / f"x{suffix}"
    assert render_live(model, loud(), path) if live else render(model, loud(), [path])
    wav, rate = audio_read(path)
    assert true_peak(wav, rate) <= -1.0
    assert float(wav[:, -rate // 200 :].abs().max()) < 0.01 * float(wav.abs().max())


def test_stream_and_file_are_the_same_and_the_library_is_left_alone(model: MusicGen, tmp_path: Path) -> None:
    heard: list[Tensor] = []
    render_live(model, loud(), tmp_path / "x.wav", listeners=[heard.append])
    streamed = torch.cat(heard, dim=-1)
    made = model.run(loud()).audio[0]
    torch.testing.assert_close(streamed, finished(made, model.sample_rate), rtol=0, atol=1e-4)
    assert float(made.abs().max()) > 1
    written = torch.from_numpy(soundfile.read(tmp_path / "x.wav", dtype="float32")[0])
    assert float((written - streamed[0]).abs().max()) <= 0.5 / 32768


@pytest.mark.parametrize("fade", [0.0, 0.3])
def test_the_sidecar_says_how_a_file_was_finished(model: MusicGen, tmp_path: Path, fade: float) -> None:
    request = GenerationRequest(prompts=("rock",), duration=0.7, seeds=(1,))
    (done,) = render(model, request, [tmp_path / "x.wav"], finish=Finish(fade=fade))
    assert read_recipe(done.sidecar).finish == Finish(fade=fade)
    again = render(model, done.recipe.request(), [tmp_path / "y.wav"], finish=done.recipe.finish)
    assert again[0].path.read_bytes() == done.path.read_bytes()
    last = audio_read(done.path)[0][:, -1].abs()
    assert bool(last < 1e-3) if fade else bool(last > 0)


def test_files_of_older_versions_are_made_as_they_were(model: MusicGen, tmp_path: Path) -> None:
    """Their sidecars know of no finishing step, tags or other seeds."""
    request = GenerationRequest(prompts=("rock",), duration=0.7, seeds=(1,))
    (old,) = render(model, request, [tmp_path / "x.wav"], finish=None)
    said = json.loads(old.sidecar.read_text())
    for name in ("finish", "asked_seed"):
        assert said.pop(name) is None
    old.sidecar.write_text(json.dumps(said))
    recipe = read_recipe(old.path)
    (again,) = render(model, recipe.request(), [tmp_path / "y.wav"], finish=recipe.finish)
    assert again.path.read_bytes() == old.path.read_bytes()
    assert not soundfile.SoundFile(old.path).title


@pytest.fixture(params=["wav", "flac", "mp3", "ogg", "opus"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / f"x.{request.param}"


@pytest.mark.parametrize("live", [False, True])
def test_files_say_what_they_are(model: MusicGen, path: Path, live: bool) -> None:
    request = GenerationRequest(prompts=("calm rock\n",), duration=0.4, seeds=(7,))
    assert render_live(model, request, path) if live else render(model, request, [path])
    with soundfile.SoundFile(path) as file:
        assert (file.title, file.artist) == ("calm rock", "debug")
        assert file.comment == "generated audio; model debug; seed 7"


class Told:
    """A callback of progress that remembers of which takes it was told."""

    def __init__(self) -> None:
        self.takes: list[tuple[str, int]] = []

    def __call__(self, event: Progress) -> None:
        pass

    def retake(self, words: str, number: int) -> Told:
        self.takes.append((words, number))
        return self


@pytest.mark.parametrize("wrong", [0.0, torch.nan])
def test_a_stream_of_nothing_is_made_again_before_anybody_hears_it(
    model: MusicGen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    good, asked = take_seed(7, 2), []

    def stream(self: MusicGen, prepared: PreparedRequest, session: Session) -> Iterator[AudioChunk]:
        (seed,) = prepared.seeds
        asked.append(seed)
        for start in range(0, 16000, 1600):
            level = 0.1 if seed == good else wrong
            yield AudioChunk(0, start, torch.full((1, 1600), level) * (-1) ** torch.arange(1600))

    monkeypatch.setattr(type(model), "stream_prepared", stream)
    request = GenerationRequest(prompts=("rock",), duration=1.0, seeds=(7,))
    heard: list[Tensor] = []
    told = Told()
    done = render_live(model, request, tmp_path / "x.wav", listeners=[heard.append], progress=told)
    assert asked == [7, take_seed(7, 1), good] and told.takes == [("rock", 2), ("rock", 3)]
    assert done is not None and (done.recipe.seed, done.recipe.asked_seed) == (good, 7)
    streamed = torch.cat(heard, dim=-1)
    assert streamed.shape[-1] == 16000 and float(streamed[:, 0].abs()) > 0.05
    good = -1
    with pytest.raises(FaultyAudio, match="other takes"):
        render_live(model, request, tmp_path / "y.wav", listeners=[heard.append])
    assert not (tmp_path / "y.wav").exists() and len(torch.cat(heard, dim=-1)[0]) == 16000
