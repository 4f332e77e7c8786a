"""An episode is as loud as it should be, its music is down while somebody speaks, its chapters are where they are."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from audiocraft.audio.chapters import Chapter
from audiocraft.audio.files import audio_read, audio_write
from audiocraft.audio.loudness import integrated_loudness, true_peak
from audiocraft.audio.mixing import Track
from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.generation.request import GenerationRequest, GenerationResult
from audiocraft.models.generator import GeneratorModel
from audiocraft.workflows.studio.podcast import Episode, PodcastAudioProcessor, PodcastSettings

RATE = 16000
PLACES = ((0.3, 4.0), (6.0, 9.0), (11.0, 14.5))
CHAPTERS = (Chapter(0.0, "Welcome"), Chapter(5.2, "Second"), Chapter(10.0, "Third"))


class Player:
    """A model whose music is noise of its seed, so that a test needs no network to run."""

    makes_music, takes_plans, sample_rate, name = True, True, RATE, "player"

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []

    def run(self, request: GenerationRequest, **_: object) -> GenerationResult:
        self.requests.append(request)
        seeds = request.seeds or ()
        count = round(request.duration * RATE)
        rows = [0.1 * torch.randn(1, count, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return GenerationResult(
            audio=torch.stack(rows), codes=None, sample_rate=RATE, seeds=seeds, plans=(None,) * len(seeds), timings={}
        )  # fmt: skip


def processor(**settings: Any) -> PodcastAudioProcessor:
    return PodcastAudioProcessor(
        cast(GeneratorModel, Player()), theme="science, calm", sample_rate=RATE, **settings
    )


@pytest.fixture(scope="module")
def voice() -> Tensor:
    time = torch.arange(15 * RATE) / RATE
    sound = torch.zeros(1, len(time))
    for start, end in PLACES:
        here = slice(round(start * RATE), round(end * RATE))
        sound[0, here] = (
            0.2 * torch.sin(2 * math.pi * 220 * time[here]) * (1 + 0.5 * torch.sin(25 * time[here]))
        )
    return sound


@pytest.fixture(scope="module")
def episode(voice: Tensor) -> Episode:
    settings = PodcastSettings(intro=4, outro=3, detector="level")
    return processor().make(voice, RATE, chapters=CHAPTERS, settings=settings)


@pytest.mark.parametrize(("channels", "loudness"), [(2, -16.0), (1, -19.0)])
def test_an_episode_has_the_loudness_of_podcasts(voice: Tensor, channels: int, loudness: float) -> None:
    settings = PodcastSettings(channels=channels, intro=2, outro=0, transitions=False, detector="level")
    made = processor().make(voice, RATE, settings=settings)
    assert made.audio.shape[0] == channels
    assert float(integrated_loudness(made.audio, RATE)) == pytest.approx(loudness, abs=0.5)
    assert true_peak(made.audio, RATE) <= -1.0


def test_music_under_speech_is_softer_by_what_was_set_in_the_finished_file(voice: Tensor) -> None:
    """The same episode without its voice: pauses and speech differ by the depth."""
    settings = PodcastSettings(intro=0, outro=0, depth_db=14, prepare_voice=False, detector="level")
    desk = processor()
    beds: list[Track] = []
    keep = desk._mastered

    def heard(tracks: Any, with_settings: PodcastSettings) -> Any:
        beds.extend(tracks)
        return keep(tracks, with_settings)

    desk._mastered = heard  # type: ignore[method-assign]
    made = desk.make(voice, RATE, settings=settings)
    voice_part, bed = beds[0], beds[-1]
    final = made.audio[0].clone()
    final[: voice_part.audio.shape[-1]] -= voice_part.audio[0] * 10 ** (made.gain_db / 20)

    def level(start: float, end: float) -> float:
        return 10 * math.log10(float(final[round(start * RATE) : round(end * RATE)].square().mean()))

    assert bed.at == 0
    assert level(5.0, 5.4) - level(2.0, 3.5) == pytest.approx(14, abs=1)
    assert level(10.0, 10.4) - level(7.0, 8.5) == pytest.approx(14, abs=1)


def test_chapters_begin_with_their_sound_in_a_pause_and_the_voice_goes_on_after_it(episode: Episode) -> None:
    starts = [chapter.start for chapter in episode.chapters]
    assert [chapter.title for chapter in episode.chapters] == ["Welcome", "Second", "Third"]
    assert starts[0] == 0
    begin = 3.0  # the intro, less what it shares with the voice
    assert starts[1] == pytest.approx(begin + 5.0, abs=0.1)  # the middle of the pause
    for start in starts[1:]:
        assert not any(first < start < last for first, last in episode.speech)
    spoken = [last - first for first, last in episode.speech]
    assert spoken == pytest.approx([last - first for first, last in PLACES], abs=0.25)
    assert all(first[1] < then[0] for first, then in pairwise(episode.speech))


def test_all_music_has_one_tempo_and_one_key() -> None:
    desk = processor()
    desk.create_intro_music(duration=2)
    desk.create_intro_music("loud brass", duration=2)
    desk.create_bed_music(30)
    desk.generate_transition_sounds(3)
    scores = {(request.score.tempo, request.score.key) for request in cast(Player, desk.model).requests}
    assert len(scores) == 1
    assert None not in scores.pop()


def test_a_bed_is_as_long_as_asked_and_repeats_whole_bars() -> None:
    desk = processor()
    bed = desk.create_bed_music(60.0)
    assert bed.shape[-1] == 60 * RATE
    loop = round((cast(Player, desk.model).requests[-1].duration - 0.25) * RATE)
    assert loop / RATE / desk._bar == pytest.approx(round(loop / RATE / desk._bar), abs=1e-3)
    later = bed[:, 8000 + loop : 16000 + loop]
    assert torch.allclose(later, bed[:, 8000:16000])


def test_equal_seeds_give_equal_episodes_and_music_dies_away(voice: Tensor) -> None:
    settings = PodcastSettings(intro=2, outro=2, detector="level")
    first, second = (processor(seed=3).make(voice, RATE, settings=settings) for _ in range(2))
    assert torch.equal(first.audio, second.audio)
    end = processor().create_outro_music(duration=4)
    assert float(end[:, -80:].abs().max()) < 0.003 * float(end.abs().max())
    assert not float(end[:, -1].abs()) > 1e-4


def test_the_command_makes_an_episode_with_the_bundled_model(
    voice: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio_write(tmp_path / "voice", voice[:, : 5 * RATE], RATE, strategy="none")
    chapters = tmp_path / "chapters.txt"
    chapters.write_text("00:00 Welcome\n00:04.5 More\n")
    code = main(["podcast", "make", str(tmp_path / "voice.wav"), "--theme", "calm piano", "--intro", "2",
                 "--outro", "0", "--chapters", str(chapters), "-o", str(tmp_path / "out.mp3"), "--json"])  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert code == 0
    assert said["loudness"] == pytest.approx(-16, abs=0.5)
    heard, rate = audio_read(tmp_path / "out.mp3")
    assert heard.shape[0] == 2
    assert float(integrated_loudness(heard, rate)) == pytest.approx(-16, abs=0.5)
    assert true_peak(heard, rate) <= -1.0
    assert heard.shape[-1] / rate == pytest.approx(said["duration"], abs=0.1)
    assert (tmp_path / "out.mp3").read_bytes().count(b"CHAP") == 2


def test_music_for_a_podcast_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["podcast", "transitions", "1", "-o", str(tmp_path / "sounds")]) == 0
    assert main(["podcast", "intro", "calm", "-d", "2", "-o", str(tmp_path / "intro.flac")]) == 0
    files = capsys.readouterr().out.split()
    assert [Path(file).is_file() for file in files] == [True, True]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["make", "VOICE", "-o", "x.txt"], "x.txt"),
        (["make", "VOICE", "-o", "x.wav", "--chapters", "CHAPTERS"], "holds no chapters"),
        (["make", "VOICE", "-o", "x.mp3", "--chapters", "none.txt"], "none.txt"),
        (["make", "VOICE", "-o", "x.mp3", "--depth", "-3"], "depth"),
        (["make", "VOICE", "-o", "x.mp3", "--intro", "1"], "intro"),
        (["make", "VOICE", "-o", "x.mp3", "--theme", " "], "theme"),
        (["make", "absent.wav", "-o", "x.mp3"], "absent.wav"),
        (["transitions", "0"], "1 to 100"),
        (["intro", "calm", "-d", "900", "-o", "x.wav"], "900"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(
    words: list[str], says: str, voice: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    audio_write("VOICE", voice[:, :RATE], RATE, strategy="none", add_suffix=False, format="wav")
    Path("CHAPTERS").write_text("00:00 A")
    assert main(["podcast", *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("x.*"))


def test_a_chapter_after_the_end_is_refused(voice: Tensor) -> None:
    with pytest.raises(InvalidInput, match="ends at 15"):
        processor().make(voice, RATE, chapters=[Chapter(20.0, "Late")])
