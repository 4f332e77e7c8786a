"""Scenes from sentences: kinds, order, times, and what nobody asked for."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from audiocraft.data.synthesis.captions import INSTRUMENT_WORDS
from audiocraft.data.synthesis.scenes import KINDS, compose_scene
from audiocraft.data.synthesis.sounds import LASTING_KINDS
from audiocraft.data.synthesis.vocabulary import vocabulary_of
from audiocraft.errors import CheckpointError
from audiocraft.music.moments import without_times
from audiocraft.music.planning import make_plan
from audiocraft.music.scenes import read_scene, scene_line, without_scene
from audiocraft.music.sound_kinds import SoundKinds
from audiocraft.music.translating import translate
from audiocraft.music.understanding import understand_sounds
from audiocraft.music.vocabulary import Vocabulary
from audiocraft.types import Scene

ALONE = "; the piece is made of the words alone"
CONFIG = Path(__file__).parents[2] / "config" / "conditioner" / "nano_scene.yaml"


@pytest.fixture(scope="module")
def kinds() -> SoundKinds:
    return SoundKinds.of(KINDS, LASTING_KINDS, vocabulary_of(music=False, recipe="wide"))


def make_scene(text: str, kinds: SoundKinds, **told: Any) -> Scene | None:
    return read_scene(text, kinds, **told).scene


def scene_of(text: str, kinds: SoundKinds, **options: float) -> Scene:
    scene = make_scene(text, kinds, **{"duration": 10.0, "seed": 1, **options})
    assert scene is not None
    return scene


def test_the_configuration_tells_what_the_corpus_has() -> None:
    told = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["conditioners"]["scene"]["scene"]
    assert tuple(told["kinds"]) == KINDS and tuple(told["lasting"]) == LASTING_KINDS


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("rain", ["rain"]),
        ("Rain and thunder!", ["rain", "thunder"]),
        ("storm", ["rain", "thunder"]),  # two words that the model knows
        ("river with birds", ["stream", "birds"]),
        ("a steam train leaving a station", ["train"]),  # not steam
        ("Regen und Donner", ["rain", "thunder"]),
        ("birds, no wind", ["birds"]),
        ("a lion, without rain", ["lion"]),
        ("roaring", ["lion"]),
    ],
)
def test_kinds_are_heard_in_words(text: str, heard: list[str], kinds: SoundKinds) -> None:
    scene = scene_of(text, kinds)
    assert sorted({event.kind for event in scene.events}) == sorted(heard)


@pytest.mark.parametrize(
    "text",
    [
        "a door slamming, then a dog barking",
        "a door followed by a dog barking",
        "first a door and then a dog",
        "a dog barking after a door slamming",
        "a door before a dog",
        "door -> dog",
        "before the dog a door slams",
        "before a dog, a door",
        "after a door, a dog",
        "After the door there is a dog.",
        "문소리, 그다음 개 짖는 소리",
        "eine Tür, dann ein Hund",
        "une porte puis un chien",
        "puerta, luego un perro",
        "ドア、それから犬",
        "门，然后狗叫",
    ],
)
def test_what_is_named_first_is_heard_first(text: str, kinds: SoundKinds) -> None:
    first, second = scene_of(text, kinds).events
    assert (first.kind, second.kind) == ("door", "dog")
    assert first.end <= second.start and second.start == pytest.approx(5.0, abs=0.5)


def test_what_lasts_is_heard_throughout_and_what_happens_takes_turns(kinds: SoundKinds) -> None:
    scene = scene_of("a dog, a door and rain", kinds)
    spans = {event.kind: (event.start, event.end) for event in scene.events}
    assert spans["rain"] == (0.0, 10.0)
    assert spans["dog"][1] <= spans["door"][0]


def test_times_are_taken_literally(kinds: SoundKinds) -> None:
    scene = scene_of("rain for 4 s, a dog at 3.5 s and a bell from 5 to 8 seconds, a crash 9-12 s", kinds)
    spans = {event.kind: (event.start, event.end) for event in scene.events}
    assert spans["rain"] == (0.0, 4.0) and spans["bell"] == (5.0, 8.0) and spans["crash"] == (9.0, 10.0)
    assert spans["dog"][0] == 3.5
    assert without_times("a dog at 3.5 s").strip() == "a dog"


@pytest.mark.parametrize(
    "text",
    [
        "비, 3초에 천둥",
        "Regen, Donner bei 3 s",
        "Regen, ab Sekunde 3 Donner",
        "pluie, tonnerre à 3 s",
        "lluvia, trueno a los 3 segundos",
        "雨、3秒に雷",
        "雨，第3秒时打雷",
    ],
)
def test_times_are_read_in_other_languages(text: str, kinds: SoundKinds) -> None:
    rain, thunder = scene_of(text, kinds).events
    assert (rain.kind, thunder.kind, thunder.start) == ("rain", "thunder", 3.0)


def test_lengths_begin_with_their_step(kinds: SoundKinds) -> None:
    door, dog = scene_of("a door, then a dog for 2 s", kinds).events
    assert (door.kind, dog.kind) == ("door", "dog") and (dog.start, dog.end) == (8.0, 10.0)
    (rain,) = scene_of("rain at 3 s", kinds, known=5.0, duration=14.0).events
    assert (rain.start, rain.end) == (5.0, 14.0)  # it was not there before
    first, second = scene_of("(dog:2), then a door", kinds).events
    assert (first.kind, second.kind) == ("dog", "door")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a dog at 2 s and 5 s", "dog 2-5, 5-10 s"),
        ("a dog at 2, 5 and 8 s, rain", "rain; dog 2-5, 5-8, 8-10 s"),
        ("a bell every 3 seconds", "bell 0-3, 3-6, 6-9, 9-10 s"),
        ("a bell every 4 s, every 6 s", "bell 0-4, 4-6, 6-8, 8-10 s"),
        ("a dog every 2 s until 6 s, rain", "dog 0-2, 2-4, 4-6 s; rain"),
        ("a door at 6 s, then a dog", "door 6-8 s, dog 8.1-10 s"),
        ("rain, then thunder at 8 s", "rain 0.1-8 s, thunder 8-10 s"),
        ("rain from 0 to 4 s, then birds, then a bell at 8 s", "rain 0-4 s, birds 4.1-8 s, bell 8-10 s"),
        ("a door for 2 s, then a dog", "door 0-2 s, dog 2.1-10 s"),
        ("a dog at 9.9 s, then a cow", "cow 5.1-10 s, dog 9.9-10 s"),  # no room: each has its share
        ("rain until 5 s, then birds", "rain 0-5 s, birds 5.1-10 s"),
        ("rain between 2 and 5 s", "rain 2-5 s"),
        ("a bell for 500 ms", "bell 0-0.5 s"),
        ("silence for 3 s, then wind", "wind 3.1-10 s"),
        ("a kazoo for 3 s, then wind", "wind 3.1-10 s"),
        ("Ruhe für 3 s, dann Wind", "wind 3.1-10 s"),
        ("wind for 3 s, then silence", "wind 0-3 s"),
        ("silence, then wind", "wind 5.1-10 s"),
        ("a dog barks twice", "dog 0-1.4, 2-3.4 s"),
        ("a dog barks three times at 5 s", "dog 5-6.2, 6.7-7.8, 8.3-9.5 s"),
        ("a door slams once, then a dog", "door 0-2 s, dog 5.1-10 s"),
        ("a bell every 2 s, three times", "bell 0-2, 2-4, 4-6 s"),
        ("ein Hund bellt zweimal", "dog 0-1.4, 2-3.4 s"),
        ("un chien aboie deux fois", "dog 0-1.4, 2-3.4 s"),
        ("un perro ladra 2 veces", "dog 0-1.4, 2-3.4 s"),
        ("개가 두 번 짖는", "dog 0-1.4, 2-3.4 s"),
        ("犬が2回吠える", "dog 0-1.4, 2-3.4 s"),
        ("狗叫两声", "dog 0-1.4, 2-3.4 s"),
        ("a dog at 0:03, a unicorn at 0:05", "dog 3-8 s"),  # its time goes with it
        ("a dog at 1,5 s", "dog 1.5-6.5 s"),
        ("at 2 s, a dog, at 5 s, a cow", "dog 2-7 s, cow 5-10 s"),
        ("a dog at second 4", "dog 4-9 s"),
        ("wind at 3 s", "wind 3-10 s"),
        ("von 2 bis 5 Sekunden Regen, ein Hund alle 4 Sekunden", "dog 0-4, 4-8, 8-10 s; rain 2-5 s"),
        ("Regen bis Sekunde 4, danach Donner", "rain 0-4 s, thunder 4.1-10 s"),
        ("lluvia de 2 a 5 segundos, un perro durante 2 s", "dog 0-2 s, rain 2-5 s"),
        ("pluie jusqu'à 5 s, puis tonnerre", "rain 0-5 s, thunder 5.1-10 s"),
        ("2초부터 5초까지 비, 개 2초 동안", "dog 0-2 s, rain 2-5 s"),
        ("ein Hund nach 3 Sekunden", "dog 3-8 s"),
        ("un chien après 3 secondes", "dog 3-8 s"),
        ("un perro después de 3 segundos", "dog 3-8 s"),
        ("3초 후에 개", "dog 3-8 s"),
        ("3秒後に犬", "dog 3-8 s"),
        ("3秒后狗叫", "dog 3-8 s"),
        ("비 없이 개", "dog 0.1-6.8, 8.6-10 s"),
        ("雨3秒まで、それから犬", "rain 0-3 s, dog 3.1-10 s"),
        ("2秒到5秒下雨，然后狗叫", "rain 2-5 s, dog 5.1-10 s"),
    ],
)
def test_what_is_said_of_times_is_kept(text: str, line: str, kinds: SoundKinds) -> None:
    bare = SoundKinds(kinds.ways, kinds.lasting)  # without rhythms, which are drawn
    assert scene_line(scene_of(text, bare)) == line
    assert not any(letter.isdigit() for letter in without_times(translate(text).text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rock with electric guitar, bass and drums in E minor", "bass, drums, electric guitar"),
        ("calm piano, drums at 5 s", "piano, drums 5-10 s"),
        ("piano, then drums", "piano 0.1-5 s, drums 5.2-10 s"),
        ("piano, then drums come in", "piano, drums 5.2-10 s"),
        ("piano joined by drums", "piano, drums 5.2-10 s"),
        ("bass, then a saxophone joins, then drums join", "bass, saxophone 3.6-10 s, drums 6.9-10 s"),
        ("piano, drums enter at 4 s, strings from 6 s", "piano, drums 4-10 s, strings 6-10 s"),
        ("drums stop at 6 s, piano", "drums 0-6 s, piano"),
        ("violin, no drums", "violin"),
        ("violin without drums, bass or piano", "violin"),
        ("violin, no drums until 5 s", "violin, drums 5-10 s"),
        ("(drums:0) violin", "violin"),
        ("silence for 3 s, then piano", "piano 3.1-10 s"),
        ("violin [no drums]", "violin"),
        ("violin, drums, no drums after 5 s", "drums 0-5 s, violin"),
        ("violin, no drums in the first 5 seconds", "violin, drums 5-10 s"),
        ("violin, don't start the drums until 5 s", "violin, drums 5-10 s"),
        ("Geige, kein Schlagzeug vor 5 s", "violin, drums 5-10 s"),
        ("violon, pas de batterie avant 5 s", "violin, drums 5-10 s"),
        ("violín, sin batería antes de los 5 s", "violin, drums 5-10 s"),
        ("violin, no drums before the chorus", "violin"),
        ("violin in the key of D", "violin"),
        ("violin, drums at 3 s, without bass", "violin, drums 3-10 s"),
        ("피아노, 5초부터 드럼", "piano, drums 5-10 s"),
    ],
)  # fmt: skip
def test_instruments_play_when_they_are_told_to(text: str, line: str) -> None:
    band = SoundKinds.of(INSTRUMENT_WORDS, INSTRUMENT_WORDS, vocabulary_of(music=True))
    assert scene_line(scene_of(text, band)) == line
    assert "join" not in without_scene(text) and "come in" not in without_scene(text)


def test_instruments_are_said_whole() -> None:
    """A model that is told of drums alone would play drums alone."""
    band = SoundKinds.of(INSTRUMENT_WORDS, INSTRUMENT_WORDS, vocabulary_of(music=True))
    for text in ("lofi beat", "warm music", "a section in a box"):
        assert make_scene(text, band, duration=10.0, seed=1) is None
    assert scene_line(scene_of("grand piano, sax, guitar", band)) == "acoustic guitar, piano, saxophone"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rock with guitar", "electric guitar"),
        ("rock, acoustic guitar", "acoustic guitar"),
        ("epic orchestra", "drums, strings, trumpet"),
        ("hip hop until 4 s, then piano", "bass 0-4 s, drums 0-4 s, electric piano 0-4 s, piano 4.1-10 s"),
    ],
)
def test_instruments_are_those_of_the_words_that_a_model_hears(text: str, line: str) -> None:
    band = SoundKinds.of(INSTRUMENT_WORDS, INSTRUMENT_WORDS, vocabulary_of(music=True))
    assert scene_line(scene_of(text, band)) == line


def test_order_that_a_scene_heeds_is_not_unknown() -> None:
    vocabulary = vocabulary_of(music=True)
    band = SoundKinds.of(INSTRUMENT_WORDS, INSTRUMENT_WORDS, vocabulary)
    told = {"duration": 10.0, "seed": 1, "vocabulary": vocabulary}
    assert understand_sounds("piano, then xyz violin", band, **told).unknown == ("xyz",)
    assert understand_sounds("piano, then violin", None, **told).unknown == ("then",)


def test_texts_that_say_many_times_are_read_at_once(kinds: SoundKinds) -> None:
    ends = " then ".join(f"a dog until {number / 300:.3f} s" for number in range(1, 2900))
    for text in (
        ends,
        "a dog at " + "1, " * 1300 + "2",
        "1,1" * 1300,
        "at 1 s and " * 370,
        "from 1 to " * 400,
    ):
        start = time.process_time()
        make_scene(text, kinds, duration=10, seed=1)
        without_times(text)
        assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a dog at 100 s", "dog at 100 s: that is behind the end, which is at 8 s" + ALONE),
        ("a dog from 7 to 5 s", "dog from 7 to 5 s: it is over before it can be heard" + ALONE),
        ("a dog for 0 s", "dog for 0 s: it is over before it can be heard" + ALONE),
        ("a dog at 1 s and 9 s", "dog at 9 s: that is behind the end, which is at 8 s"),
        ("a dog at 1 s, a bell at 9 s", "bell at 9 s: that is behind the end, which is at 8 s"),
        ("rain until 12 s", "rain until 12 s: it ends with the piece, at 8 s"),
        ("rain until 2 s, then birds until 1 s", "birds until 1 s: it is over before it can be heard"),
        ("a bell every 0 s", "bell every 0 s: nothing comes more often than every 0.2 s"),
        ("rain every 2 s", "rain every 2 s: it goes on by itself, so it does not come again and again"),
        ("a dog at 1 s, no dog", "dog is asked for and denied: it is left out" + ALONE),
        ("un perro a los 20 s", "dog at 20 seconds: that is behind the end, which is at 8 s" + ALONE),
        ("rain twice", "rain twice: it goes on by itself, so it does not come again and again"),
        ("silence for 3 s, then a dog", None),
        ("a dog barks twice", None),
        ("a dog at 2 s", None),
        ("un perro a los 2 s", None),
        ("2초에 개, 5초에 종", None),
        ("Regen bis 2 s, dann Vögel", None),
        ("birds, no wind", None),
    ],
)  # fmt: skip
def test_times_that_are_not_kept_are_said(text: str, said: str | None, kinds: SoundKinds) -> None:
    found = understand_sounds(
        text, kinds, duration=8, seed=1, vocabulary=vocabulary_of(music=False, recipe="wide")
    )
    assert [note.said for note in found.notes] == ([] if said is None else [said])
    assert not found.unknown
    assert (found.scene is None) == (said is not None and ("alone" in said or "denied" in said))


def test_what_is_there_already_keeps_no_times(kinds: SoundKinds) -> None:
    found = understand_sounds("a dog at 1 s", kinds, duration=8, seed=1, known=2.0)
    assert [note.said for note in found.notes] == [
        "dog at 1 s: what is before 2 s is there already, or is said otherwise"
    ]


def test_long_pieces_hear_again_what_happens(kinds: SoundKinds) -> None:
    events = scene_of("a dog", kinds, duration=60.0).events
    assert len(events) >= 5 and events[-1].end > 55
    assert all(event.end < later.start for event, later in pairwise(events))


def test_what_goes_on_has_its_events_behind_what_is_there(kinds: SoundKinds) -> None:
    spans = {
        event.kind: (event.start, event.end) for event in scene_of("rain, a dog", kinds, known=4.0).events
    }
    assert spans["rain"] == (0.0, 10.0) and 4.0 <= spans["dog"][0] < 5.0
    first, second = scene_of("a door, then a dog", kinds, known=4.0).events
    assert 4.0 <= first.start and second.start == pytest.approx(7.0, abs=0.5)
    assert make_scene("a dog", kinds, duration=4.0, seed=1, known=4.0) is None


def test_what_happens_has_a_rhythm_of_its_kind() -> None:
    bark, slam = ((0.0, 0.2), (0.5, 0.7)), ((0.0, 0.4),)
    rhythms = {"dog": (bark,), "door": (slam,), "rain": (bark,)}
    kinds = SoundKinds({"dog": (), "door": (), "rain": ()}, frozenset({"rain"}), rhythms)
    (door,) = scene_of("a door at 3 s", kinds).events
    assert door.bursts == ((3.0, 3.4),) and door.end == 3.4
    (dog,) = scene_of("a dog at 3 s", kinds).events
    assert dog.bursts[:2] == ((3.0, 3.2), (3.5, 3.7)) and 7.0 < dog.end <= 8.0  # it goes on
    (filled,) = scene_of("a dog from 3 to 8 s", kinds).events
    assert filled.bursts[0][0] == 3.0 and 7.0 < filled.end <= 8.0 and len(filled.bursts) >= 6
    assert all(start < end <= later for (start, end), (later, _) in pairwise(filled.bursts))
    (short,) = scene_of("a dog", kinds, duration=0.4).events
    assert short.bursts[-1][1] <= 0.4
    (rain,) = scene_of("rain", kinds).events
    assert rain.bursts == ()  # it goes on by itself


def test_what_is_counted_is_heard_so_often() -> None:
    kinds = SoundKinds({"dog": (), "door": ()}, frozenset(), {"dog": (((0.0, 0.2), (0.5, 0.7)),)})
    for words, count in (("once", 1), ("twice", 2), ("three times", 3), ("7 times", 7)):
        (dog,) = scene_of(f"a dog {words} at 2 s", kinds).events
        assert len(dog.bursts) == count and dog.start == 2.0 and dog.end == dog.bursts[-1][1]
        assert len(scene_of(f"a door {words}", kinds).events) == count
    for text in ("once upon a time a dog", "a dog at once", "a dog, twice as loud"):
        assert scene_of(text, kinds).events == scene_of("a dog", kinds).events
    unkept = read_scene("a dog barks 99 times", kinds, duration=4.0, seed=1).unkept
    assert len(unkept) == 1 and unkept[0].startswith("dog 99 times: there is room for ")


def test_what_later_texts_change_is_said() -> None:
    texts = ("calm piano, A minor, 70 bpm", "rock drums in C major, 150 bpm")
    plan = make_plan(texts[0], duration=10, seed=7)
    told = {"duration": 10.0, "seed": 7, "plan": plan, "schedule": [(2.0, texts[1])]}
    for kinds in (None, SoundKinds.of(INSTRUMENT_WORDS, INSTRUMENT_WORDS, vocabulary_of(music=True))):
        found = understand_sounds(texts[0], kinds, **told)
        assert found.changes == ("from 2 s: 150 bpm, C major",) and found.changes[0] in found.line()
        assert found.to_dict()["changes"] == list(found.changes)
    same = understand_sounds(texts[0], None, **{**told, "schedule": [(2.0, f"{texts[0]}, strings")]})
    assert same.changes == ()
    wrong = understand_sounds(texts[0], None, **{**told, "schedule": [(2.0, "500 bpm")]})
    assert [note.value for note in wrong.notes] == ["500 bpm"]


def test_rhythms_come_with_the_vocabulary() -> None:
    told = {
        "groups": {"Sounds": {"dog": ["a dog"]}},
        "words": [],
        "rhythms": {"dog": [[[0, 0.2], [0.5, 0.7]]]},
    }
    vocabulary = Vocabulary.from_dict(told)
    assert vocabulary.to_dict() == {**told, "rhythms": {"dog": (((0, 0.2), (0.5, 0.7)),)}}
    assert SoundKinds.of(["dog"], (), vocabulary).rhythms == vocabulary.rhythms
    with pytest.raises(CheckpointError, match="vocabulary"):
        Vocabulary.from_dict({"rhythms": {"dog": [[["x", 1]]]}})


def test_words_that_name_nothing_make_no_scene(kinds: SoundKinds) -> None:
    for text in (None, "", "xyzzy", "ukulele", "then", "at 3 s"):
        assert make_scene(text, kinds, duration=10, seed=1) is None


def test_the_seed_moves_what_is_not_said(kinds: SoundKinds) -> None:
    assert scene_of("a dog", kinds, seed=1) == scene_of("a dog", kinds, seed=1)
    assert scene_of("a dog", kinds, seed=1) != scene_of("a dog", kinds, seed=2)


@settings(max_examples=150, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            [
                "rain",
                "a dog",
                "then",
                "and",
                "after",
                "at 3 s",
                "from 9 to 2 s",
                ",",
                "for 0 s",
                "->",
                "at 99 s",
                "every 2 s",
                "until 3 s",
                "at 1 s and 2 s",
            ]
        ),
        max_size=12,
    ).map(" ".join),
    duration=st.floats(0.01, 40.0),
    seed=st.integers(0, 99),
)
def test_any_text_is_heard_within_its_piece(text: str, duration: float, seed: int, kinds: SoundKinds) -> None:
    scene = make_scene(text, kinds, duration=duration, seed=seed)
    if scene is not None:
        assert all(0 <= event.start < event.end <= duration + 1e-9 for event in scene.events)


def test_captions_of_the_corpus_are_read_as_they_were_written(kinds: SoundKinds) -> None:
    """Of 400 captions nearly all give back their kinds, and sequences their order."""
    right = ordered = sequences = 0
    for index in range(400):
        composed = compose_scene(3, index)
        scene = make_scene(composed.captions[0], kinds, duration=10.0, seed=index)
        heard = [] if scene is None else [event.kind for event in scene.events]
        wanted = [one.kind for one in composed.sounds]
        right += set(heard) == set(wanted)
        if composed.form == "sequence":
            sequences += 1
            ordered += list(dict.fromkeys(heard)) == wanted
    assert right >= 392 and ordered >= 0.98 * sequences


def test_what_is_heard_is_said(kinds: SoundKinds) -> None:
    text = "rain, a dog from 2 to 4.5 s"
    scene = scene_of(text, kinds)
    assert scene_line(scene) == "rain, dog 2-4.5 s"
    understood = understand_sounds(
        text, kinds, duration=10, seed=1, vocabulary=vocabulary_of(music=False, recipe="wide")
    )
    assert "rain, dog 2-4.5 s" in understood.line() and not understood.unknown
    told = understood.to_dict()["scene"][1]
    assert (told["kind"], told["start"], told["end"]) == ("dog", 2.0, 4.5)


def test_what_later_texts_ask_for_is_said_too(kinds: SoundKinds) -> None:
    found = understand_sounds("rain", kinds, duration=10, seed=1, schedule=[(4.0, "a dog"), (8.0, "xyzzy")])
    assert found.scene is not None
    assert [event.kind for event in found.scene.events] == ["rain", "dog"]
    rain, dog = found.scene.events
    assert (rain.start, rain.end) == (0.0, 4.0) and 4.0 <= dog.start < dog.end <= 8.0
