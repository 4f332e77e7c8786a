"""The synthetic corpus: what its labels and captions say is what the notes are, and numbers alone decide it all."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.data.synthesis import corpus, scenes, studio
from audiocraft.data.synthesis.attributes import draw_attributes, is_held_out
from audiocraft.data.synthesis.captions import (
    TEMPLATES,
    draw_short_captions,
    heldout_prompts,
    instruments_in,
    write,
)
from audiocraft.data.synthesis.composition import DURATION, SPLITS, Note, Part, Piece, compose
from audiocraft.data.synthesis.instruments import DRUMS, INSTRUMENTS
from audiocraft.data.synthesis.materials import Material
from audiocraft.data.synthesis.players import (
    FONTS,
    PLAYERS,
    Preset,
    draw_playing,
    humanise,
    preset_is_held_out,
    seat,
)
from audiocraft.data.synthesis.render import DEFAULT_SOUNDFONT, find_soundfont
from audiocraft.data.synthesis.sampler import Shelf
from audiocraft.data.synthesis.sounds import KINDS, compose_sound, is_held_out_pair, kinds_in, render_sound
from audiocraft.data.synthesis.styles import MOODS, STYLES
from audiocraft.data.synthesis.theory import voice
from audiocraft.errors import ConfigError, InvalidInput, MissingDependency
from audiocraft.music.harmony import find_key, find_tempo, parse_chord, parse_key


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [compose(1, index, split) for split in SPLITS for index in range(40)]


def test_numbers_alone_decide(pieces: list[Piece]) -> None:
    """A clip can be made again, in any order, on its own."""
    for piece in random.Random(0).sample(pieces, 20):
        assert compose(piece.seed, piece.index, piece.split) == piece
    assert compose(2, 0) != compose(1, 0) != compose(1, 1)
    assert len({piece.parts for piece in pieces}) == len(pieces)


def test_notes_are_in_the_key(pieces: list[Piece]) -> None:
    """Scale notes, the leading tone, and what a chord symbol says; the tonic chord comes first."""
    for piece in pieces:
        key = piece.attributes.key
        symbols = [symbol for _, symbol in piece.chords]
        allowed = {*key.scale, (key.tonic + 11) % 12}
        allowed.update(note for symbol in symbols for note in parse_chord(symbol).pitch_classes)
        played = {note.pitch % 12 for part in piece.parts if part.role != DRUMS for note in part.notes}
        assert played <= allowed
        assert parse_chord(symbols[0]).root == key.tonic


def test_chords_cover_the_clip_on_beats(pieces: list[Piece]) -> None:
    for piece in pieces:
        beat_s = 60 / piece.attributes.bpm
        starts = [start for start, _ in piece.chords]
        assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] < DURATION
        assert all(abs(start / beat_s - round(start / beat_s)) < 1e-6 for start in starts)
        longest = max(later - start for start, later in zip(starts, [*starts[1:], DURATION], strict=True))
        assert longest <= piece.attributes.beats_per_bar * beat_s + 1e-6


def test_bass_and_drums_and_chords_agree_with_the_labels(pieces: list[Piece]) -> None:
    """The first note of the bass in every chord is its root: labels are exact."""
    for piece in pieces:
        for part in piece.parts:
            if part.role != "bass":
                continue
            for start, symbol in piece.chords:
                first = min(part.notes, key=lambda note, start=start: abs(note.start - start))
                if abs(first.start - start) < 0.006:
                    assert first.pitch % 12 == parse_chord(symbol).root


def test_parts_come_and_go_at_bar_lines(pieces: list[Piece]) -> None:
    """Labels say when; what is held out plays throughout, and at any time somebody plays."""
    partial = 0
    for piece in pieces:
        line_s = piece.attributes.beats_per_bar * 60 / piece.attributes.bpm
        for part, (start, end), event in zip(piece.parts, piece.heard, piece.labels()["events"], strict=True):
            assert event["kind"] == part.instrument
            assert (event["start"], event["end"]) == (round(start, 3), round(end, 3))
            assert all((start - 0.06 <= note.start < end and note.start + note.duration <= max(end, note.start + 0.07))
                       or end == piece.duration for note in part.notes)  # fmt: skip
            for moment in {start, end} - {0.0, piece.duration}:
                assert abs(moment / line_s - round(moment / line_s)) < 1e-6
            partial += (start, end) != (0.0, piece.duration)
        for moment in np.arange(0.5, piece.duration):
            assert any(start <= moment <= end for start, end in piece.heard)
        if piece.split == "heldout":
            assert set(piece.heard) == {(0.0, piece.duration)}
    assert partial > len(pieces) / 10


def test_every_piece_marks_the_beat(pieces: list[Piece]) -> None:
    """Onsets fall on the sixteenth grid within the players' unsteadiness, and most beats have one."""
    for piece in pieces:
        beat_s = 60 / piece.attributes.bpm
        onsets = np.array([note.start for part in piece.parts for note in part.notes])
        off = onsets / (beat_s / 4)
        assert np.abs((off - off.round()) * beat_s / 4).max() < 0.006
        beats = np.arange(0, DURATION - 0.1, beat_s)
        near = np.abs(beats[:, None] - onsets[None, :]).min(axis=1)
        assert (near < 0.01).mean() > 0.7, (piece.attributes, piece.index)


def test_notes_are_playable(pieces: list[Piece]) -> None:
    for piece in pieces:
        assert 1 <= len(piece.parts) <= 4 and all(part.notes for part in piece.parts)
        for part in piece.parts:
            player = INSTRUMENTS[part.instrument]
            assert all(player.low <= note.pitch <= player.high for note in part.notes)
            assert all(0 < note.velocity < 127 and note.duration > 0 for note in part.notes)


def test_splits_do_not_share_combinations(pieces: list[Piece]) -> None:
    """Evaluation on held-out combinations means nothing if training heard them."""
    for piece in pieces:
        assert is_held_out(piece.attributes) == (piece.split == "heldout")
    for index in range(300):
        scene = compose_sound(1, index, SPLITS[index % 3])
        kinds = [event.kind for event in scene.events]
        assert (len(kinds) == 2 and is_held_out_pair(*kinds)) == (scene.split == "heldout")


def test_attributes_are_spread() -> None:
    found = [draw_attributes(random.Random(index), held_out=False) for index in range(1500)]
    assert len({about.key for about in found}) == 24
    assert {about.style for about in found} == set(STYLES) and {about.mood for about in found} == set(MOODS)
    heard = Counter(name for about in found for name in about.instruments)
    assert set(heard) == set(INSTRUMENTS) and min(heard.values()) > 45
    tempi = [about.bpm for about in found]
    assert min(tempi) < 65 and max(tempi) > 175
    assert sum(about.beats_per_bar == 3 for about in found) / len(found) < 0.1


def test_captions_say_only_what_the_labels_say(pieces: list[Piece]) -> None:
    complete = 0
    for piece in pieces:
        about = piece.attributes
        for caption in piece.captions:
            key, tempo, named = find_key(caption), find_tempo(caption), set(instruments_in(caption))
            assert key in (None, about.key) and tempo in (None, about.bpm), caption
            assert named <= set(about.instruments), caption
            complete += key is not None and tempo is not None and named == set(about.instruments)
    assert complete / sum(len(piece.captions) for piece in pieces) > 0.6


def test_many_templates_and_few_words(pieces: list[Piece]) -> None:
    assert len(set(TEMPLATES)) == len(TEMPLATES) >= 60
    words = {
        word
        for piece in pieces[:40]
        for template in TEMPLATES
        for word in write(random.Random(piece.index), template, piece.attributes)
        .lower()
        .replace(",", " ")
        .split()
    }
    assert len(words) < 450


def test_labels_are_complete_json(pieces: list[Piece]) -> None:
    labels = json.loads(json.dumps(pieces[0].labels()))
    assert labels["description"] == labels["captions"][0] and len(labels["captions"]) == 4
    assert parse_key(labels["key"]) == pieces[0].attributes.key and labels["bpm"] == pieces[0].attributes.bpm
    assert labels["first_beat"] == 0.0 and labels["chords"][0][0] == 0.0
    assert isinstance(labels["instrument"], str) and isinstance(labels["moods"], list)


def test_heldout_prompts_name_what_is_measured() -> None:
    prompts = heldout_prompts(80, seed=4)
    assert prompts == heldout_prompts(80, seed=4) and prompts != heldout_prompts(80, seed=5)
    for prompt in prompts:
        key = find_key(prompt["text"])
        assert key is not None and key.name == prompt["key"]
        assert find_tempo(prompt["text"]) == prompt["bpm"]
        assert set(instruments_in(prompt["text"])) == set(prompt["instruments"])


def test_voices_move_little() -> None:
    first = voice(parse_chord("C"), 60)
    second = voice(parse_chord("F"), 60, first)
    assert {note % 12 for note in second} == {5, 9, 0}
    assert max(min(abs(note - old) for old in first) for note in second) <= 2


@pytest.mark.parametrize(
    "arguments", [(1, 0, "test"), (1, -1, "train"), (1, 0, "train", 0.0), (1, 0, "train", float("nan"))]
)
def test_bad_requests_are_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput):
        compose(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sound(kind: str) -> None:
    """Audible, not clipped, reproducible and named by its captions."""
    scene = next(
        scene
        for scene in (compose_sound(1, index) for index in range(2000))
        if [event.kind for event in scene.events] == [kind]
    )
    assert all(kind in kinds_in(caption) for caption in scene.captions)
    sound = render_sound(scene)
    assert sound.shape == (240_000,) and sound.dtype == np.float32
    assert np.isfinite(sound).all() and 0.05 < np.abs(sound).max() < 0.9
    assert np.array_equal(sound, render_sound(scene))


def test_plan_grows_evenly_and_is_a_prefix() -> None:
    """Training may start on the first part, and a larger corpus keeps the clips of a smaller one."""
    clips = corpus.plan(2.0, 0.15)
    start = Counter((clip.kind, clip.split) for clip in clips[:100])
    assert set(start) == set(corpus.sizes(2.0, 0.15)) and start["music", "train"] > 70
    assert set(corpus.plan(1.0, 0.15)) <= set(clips)
    assert len({clip.path for clip in clips}) == len(clips)


def _sounds(folder: Path, **changes: object) -> corpus.CorpusConfig:
    return corpus.CorpusConfig(
        **{"out": folder, "hours": 0.025, "sounds_share": 1.0, "workers": 1, **changes}
    )  # type: ignore[arg-type]


def test_corpus_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = corpus.synthesize(_sounds(tmp_path))
    assert (
        first["written"]
        == first["clips"]
        == len(list(tmp_path.rglob("*.wav")))
        == len(list(tmp_path.rglob("clip_*.json")))
    )
    before = {path: path.read_bytes() for path in tmp_path.rglob("clip_*")}
    lost = sorted(tmp_path.rglob("clip_*.json"))[0]
    lost.unlink()
    assert corpus.synthesize(_sounds(tmp_path))["written"] == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("clip_*")} == before
    with pytest.raises(ConfigError, match="seed"):
        corpus.synthesize(_sounds(tmp_path, seed=2))


def test_manifest_is_read_by_the_data_sets(tmp_path: Path) -> None:
    from audiocraft.data.manifest import load_audio_meta

    corpus.synthesize(_sounds(tmp_path))
    metas = load_audio_meta(tmp_path / "egs/sound/train/data.jsonl.gz", fast=False)
    assert metas and all(meta.duration == DURATION and meta.sample_rate == 24_000 for meta in metas)


@pytest.mark.parametrize(
    "changes", [{"hours": 0.0}, {"hours": float("inf")}, {"sounds_share": 1.5}, {"workers": 0}]
)
def test_bad_settings_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        _sounds(tmp_path, **changes)


def test_missing_soundfont_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependency, match="make corpus-deps"):
        find_soundfont(tmp_path / "none.sf2")
    monkeypatch.setenv("AUDIOCRAFT_SOUNDFONT", str(tmp_path / "other.sf2"))
    with pytest.raises(MissingDependency, match=r"other\.sf2"):
        find_soundfont()


@pytest.mark.skipif(not Path(DEFAULT_SOUNDFONT).is_file(), reason="needs `make corpus-deps`")
def test_rendering_is_exact_and_every_part_is_heard() -> None:
    """A clip depends on nothing rendered before it."""
    from audiocraft.data.synthesis.levels import active_rms
    from audiocraft.data.synthesis.render import Renderer

    renderer = Renderer()
    band = next(piece for piece in (compose(1, index) for index in range(100)) if len(piece.parts) == 4)
    first = renderer.render(band)
    assert first.shape == (240_000,) and 0.05 < np.abs(first).max() < 0.9
    assert all(active_rms(stem) > 1e-4 for stem in renderer.stems(band))
    renderer.render(compose(1, 0))
    assert np.array_equal(first, renderer.render(band))


def _material(folder: Path, kind: str, label: str, split: str, hertz: float) -> Material:
    path = folder / kind / f"{label.replace(' ', '_')}_{split}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(24_000) / 24_000
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * time) * np.exp(-3 * time), 24_000)
    return Material(str(path.relative_to(folder)), kind, label, split, 1.0, "test", "CC0", "")


@pytest.fixture(scope="module")
def shelf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A materials folder with one recording of each kind and split."""
    folder = tmp_path_factory.mktemp("materials")
    found = [
        _material(folder, kind, label, split, hertz)
        for kind, label, hertz in (
            ("hit", "kick", 60.0), ("hit", "snare", 300.0), ("strum", "C down", 262.0), ("strum", "Am down", 220.0),
            ("loop", "loop", 100.0), ("texture", "pad", 150.0), ("sound", "misc_crow", 700.0), ("music", "song", 440.0),
        )
        for split in ("train", "valid")
    ]  # fmt: skip
    layers = [
        _material(folder, "note", f"piano{layer} 69", "train", 440.0) for layer in ("1", "4", "10", "16")
    ]
    text = "".join(json.dumps(asdict(one)) + "\n" for one in found + layers)
    (folder / "materials.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_players_are_who_the_captions_name(pieces: list[Piece]) -> None:
    """A relative plays under its own name, and a preset of the held-out split is heard nowhere else."""
    for piece in pieces:
        chairs = seat(random.Random(piece.index), piece)
        for part, chair in zip(piece.parts, chairs, strict=True):
            assert chair.player in PLAYERS[part.instrument] and chair.player.words[0] == chair.player.name
            others = [Preset(font, *pair) for font in range(len(FONTS)) for pair in chair.player.presets]
            if not all(map(preset_is_held_out, others)) and piece.split != "heldout":
                assert not preset_is_held_out(chair.preset)


def test_people_keep_the_notes(pieces: list[Piece]) -> None:
    """Humanised parts have the written notes, transposed by octaves at most, close to where they are written."""
    for piece in pieces[:30]:
        rng = random.Random(piece.index)
        playing = draw_playing(rng, piece)
        assert playing.moved(0.0) == pytest.approx(0.0, abs=1e-9)
        moments = [playing.moved(second / 100) for second in range(1000)]
        assert moments == sorted(moments)
        for part, chair in zip(piece.parts, seat(rng, piece), strict=True):
            played = humanise(rng, part, chair, playing.moved)
            assert sorted(note.pitch % 12 for note in played.notes) == sorted(
                note.pitch % 12 for note in part.notes
            )
            written = sorted(note.start for note in part.notes)
            heard = [note.start for note in played.notes]
            assert max(abs(a - b) for a, b in zip(written, heard, strict=True)) < 0.3
            assert all(0 < note.velocity < 128 and note.duration > 0 for note in played.notes)


def test_every_effect_keeps_length_and_sanity() -> None:
    """Whatever is drawn, the sound stays finite, as long as it was, and the same for the same numbers."""
    signal = np.random.default_rng(0).standard_normal(24_000) * np.linspace(0, 0.3, 24_000)
    names = set()
    for number in range(150):
        rng = random.Random(number)
        chain = [*studio.draw_part(rng, 0.5, drums=number % 2 == 0), *studio.draw_mix(rng, 0.1)]
        names.update(effect.name for effect in chain)
        if number < 40:
            out = studio.apply(chain, signal)
            assert out.shape == signal.shape and np.isfinite(out).all() and np.abs(out).max() > 1e-3
            assert np.array_equal(out, studio.apply(chain, signal))
    assert names == {
        "equaliser",
        "chorus",
        "drive",
        "tremolo",
        "echo",
        "crush",
        "room",
        "compressor",
        "tape",
        "filter",
    }


def test_recordings_are_played_at_the_wanted_pitch(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder, held_out=False)
    part = Part("melody", "piano", 0, 0.0, (Note(0.0, 0.9, 72, 100),))
    sound = shelf.play_piano(part, 24_000, cents=0.0)
    assert abs(np.fft.rfft(sound).argmax() - 523.25) < 3
    strummed = Part("chords", "acoustic guitar", 25, 0.0, (Note(0.0, 0.5, 60, 90), Note(0.0, 0.5, 64, 90)))
    assert shelf.can_strum([(0.0, "D")]) and not shelf.can_strum([(0.0, "Daug")])
    sound = shelf.play_strums(random.Random(0), strummed, [(0.0, "D")], 24_000, cents=0.0)
    assert abs(np.fft.rfft(sound[:12_000]).argmax() * 2 - 262 * 2 ** (2 / 12)) < 4
    drums = Part("drums", "drums", 0, 0.0, (Note(0.1, 0.1, 36, 100), Note(0.5, 0.1, 38, 100)))
    assert np.abs(shelf.play_drums(random.Random(0), drums, 24_000)).max() > 0.5


def test_scenes_are_what_their_captions_say(shelf_folder: Path) -> None:
    """Every caption describes every sound of its scene; there are 35 kinds and more; numbers alone decide."""
    assert len(scenes.KINDS) >= 35 and len(set(scenes.KINDS)) == len(scenes.KINDS)
    heard = set()
    for index in range(400):
        scene = scenes.compose_scene(2, index, SPLITS[index % 3])
        assert scene == scenes.compose_scene(2, index, SPLITS[index % 3])
        kinds = [one.kind for one in scene.sounds]
        heard.update(kinds)
        assert (len(kinds) == 2 and is_held_out_pair(*kinds)) == (scene.split == "heldout")
        assert all(0 <= one.start < one.end <= DURATION for one in scene.sounds)
        for caption in scene.captions:
            assert set(kinds) <= set(scenes.kinds_in(caption)), caption
    assert heard == set(scenes.KINDS)


def test_scenes_play_recordings_and_synthesis(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder, held_out=False)
    assert [one.label for one in scenes.recordings_of(shelf, "crow")] == ["misc_crow"]
    made = (scenes.compose_scene(4, index) for index in range(3000))
    crow = next(scene for scene in made if [one.kind for one in scene.sounds] == ["crow"])
    rain = next(scene for scene in made if [one.kind for one in scene.sounds] == ["rain"])
    for scene in (crow, rain):
        sound = scenes.render_scene(scene, shelf)
        assert sound.shape == (240_000,) and np.isfinite(sound).all() and 0.02 < np.abs(sound).max() < 0.9
        assert np.array_equal(sound, scenes.render_scene(scene, shelf))


def test_labels_say_when_a_sound_is_loud(shelf_folder: Path) -> None:
    shelf = Shelf(shelf_folder, held_out=False)
    made = (scenes.compose_scene(4, index) for index in range(3000))
    dog = next(
        scene
        for scene in made
        if [one.kind for one in scene.sounds] == ["dog"] and not scene.distance and not scene.where.strip()
    )
    sound, (bursts,) = scenes.rendered(dog, shelf)
    assert dog.labels([bursts])["events"][0]["bursts"] == [list(burst) for burst in bursts]
    assert all(dog.sounds[0].start <= start < end <= dog.sounds[0].end for start, end in bursts)
    loud = np.zeros(len(sound), bool)
    for start, end in bursts:
        loud[round(start * 24_000) : round(end * 24_000)] = True
    assert np.square(sound[loud]).sum() > 0.98 * np.square(sound).sum() and loud.mean() < 0.6
    rain = next(scene for scene in made if [one.kind for one in scene.sounds] == ["rain"])
    assert scenes.rendered(rain, shelf)[1] == [()]  # it is loud throughout


def test_hasty_captions_are_short_and_true(pieces: list[Piece]) -> None:
    for piece in pieces:
        for caption in draw_short_captions(random.Random(piece.index), piece.attributes):
            assert len(caption.split()) <= 8
            assert set(instruments_in(caption)) <= set(piece.attributes.instruments)
            assert find_key(caption) in (None, piece.attributes.key)


def test_held_out_recordings_stay_apart(shelf_folder: Path) -> None:
    training, held_out = (Shelf(shelf_folder, held_out=choice) for choice in (False, True))
    for kind in ("hit", "loop", "strum"):
        heard = {one.path for one in training.kinds[kind]}
        assert heard and not heard & {one.path for one in held_out.kinds[kind]}


def test_the_wide_recipe_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="materials"):
        corpus.synthesize(
            corpus.CorpusConfig(tmp_path, 0.01, recipe="wide", materials=tmp_path / "none", workers=1)
        )
    for wrong in ({"recipe": "broad"}, {"collage_share": 0.2}, {"recipe": "wide", "collage_share": 0.9}):
        with pytest.raises(InvalidInput):
            corpus.CorpusConfig(tmp_path, 1.0, **wrong)  # type: ignore[arg-type]
