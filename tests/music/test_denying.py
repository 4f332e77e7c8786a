"""What a prompt denies is taken out of its words, and weights are told by saying words more often."""

from __future__ import annotations

import time

import pytest

from audiocraft.data.synthesis.vocabulary import vocabulary_of
from audiocraft.music.denying import plainly, timed, unweighted, without_denials, wording_of
from audiocraft.music.planning import make_plan
from audiocraft.music.translating import translate
from audiocraft.music.understanding import understand


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("calm piano, no drums", ("drums",)),
        ("calm piano without drums in A minor, 80 bpm", ("drums",)),
        ("piano, no drums and no bass, slow", ("drums", "bass")),
        ("잔잔한 피아노, 드럼 없이", ("drums",)),
        ("ruhiges Klavier ohne Schlagzeug", ("drums",)),
        ("drumless funk", ("drums",)),
        ("instrumental jazz trio", ("choir", "voices", "vocals")),
        ("piano in C, 120 bpm", ()),
        ("a song in D minor", ()),
        ("", ()),
    ],
)
def test_what_is_denied_is_found(text: str, denied: tuple[str, ...]) -> None:
    assert wording_of(text).denied == denied
    if not denied:
        assert wording_of(text).text == text


def test_a_model_does_not_hear_what_is_denied() -> None:
    """But for drums: the bundled models were taught what "no drums" means."""
    assert "piano" not in wording_of("soft strings, no piano").text
    assert "no drums" in wording_of("soft strings, no drums").text


def test_weights_are_told_by_repetition() -> None:
    words = wording_of("(piano:2) with strings").text.replace(",", " ").split()
    assert words.count("piano") == 2 * words.count("strings")
    assert wording_of("(choir:0) with strings").text.count("choir") == 0
    assert unweighted("(piano:2) with strings") == "piano with strings"


DRUMS_BASS = ("drums", "bass")
ALL = (*DRUMS_BASS, "violin")


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("piano without drums and bass", DRUMS_BASS),
        ("without drums, bass or violin", ALL),
        ("no drums, bass or violin; just piano", ALL),
        ("piano no drums, bass and violin", ALL),
        ("piano, no drums/bass", DRUMS_BASS),
        ("piano with neither drums nor bass", DRUMS_BASS),
        ("Klavier ohne Schlagzeug und Bass", DRUMS_BASS),
        ("Klavier ohne Schlagzeug, Bass und Geige", ALL),
        ("Klavier, weder Schlagzeug noch Bass", DRUMS_BASS),
        ("piano sans batterie ni basse", DRUMS_BASS),
        ("piano sans batterie, basse ou violon", ALL),
        ("piano sin batería y bajo", DRUMS_BASS),
        ("드럼과 베이스 없이 피아노", DRUMS_BASS),
        ("드럼이나 베이스 없이 피아노", DRUMS_BASS),
        ("ドラムとベースなしでピアノ", DRUMS_BASS),
        ("不要鼓和贝斯，钢琴", DRUMS_BASS),
        ("不要鼓、贝斯或小提琴，钢琴", ALL),
        # what is asked for behind it
        ("no drums, piano", ("drums",)),
        ("no drums, piano and strings", ("drums",)),
        ("no drums and a happy piano", ("drums",)),
        ("no drums and soft strings", ("drums",)),
        ("no drums and piano plays", ("drums",)),
        ("Klavier ohne Schlagzeug, aber mit Bass und Geige", ("drums",)),
        ("piano sin batería, pero con bajo y violín", ("drums",)),
    ],
)
def test_lists_are_denied_as_far_as_they_go(text: str, denied: tuple[str, ...]) -> None:
    assert wording_of(text).denied == denied


@pytest.mark.parametrize(
    ("text", "denied", "left"),
    [
        ("piano - no drums - strings", ("drums",), "piano - no drums - strings"),
        ("no drums piano and strings", ("drums",), "no drums, piano and strings"),
        ("no drums while piano plays", ("drums",), "no drums while piano plays"),
        ("piano no drums no bass strings", DRUMS_BASS, "piano no drums no bass, strings"),
        ("piano [no drums]", ("drums",), "piano [no drums]"),
        ("piano (without bass) strings", ("bass",), "piano (no bass) strings"),
        ("no bass guitar solo, no drum kit, piano", ("bass guitar solo", "drum kit"), None),
        ("no electric guitar, piano", ("electric guitar",), None),
        ("no drums at all, piano", ("drums",), "no drums, piano"),
        ("no drums. Strings and bass.", ("drums",), None),
        ("drumless piano", ("drums",), "no drums, piano"),
        ("drum-free piano", ("drums",), "no drums, piano"),
        ("piano w/o drums", ("drums",), "piano no drums"),
        ("don't use drums, piano", ("drums",), "no drums, piano"),
        ("please avoid drums and guitars, piano", ("drums", "guitars"), "please no drums, no guitars, piano"),
        ("leave out the drums, piano", ("drums",), "no drums, piano"),
        ("piano, not drums", ("drums",), "piano, no drums"),
        ("happy piano and not sad", ("sad",), "happy piano and no sad"),
        ("not too fast piano", ("fast",), "no fast, piano"),
        ("not sad or dark piano", ("sad", "dark"), "no sad, no dark, piano"),
        ("no drums + no bass + piano", DRUMS_BASS, None),
        ("piano no-drums", ("drums",), "piano no drums"),
        ("non-drum piano", ("drum",), "no drum, piano"),
        ("no more than two instruments: piano and drums", (), None),
        ("무서운 음악 말고 밝은 피아노", ("scary",), "no scary, bright piano"),
        ("드럼을 빼고, 베이스도 빼고, 피아노", DRUMS_BASS, None),
        ("ドラムもベースもなしで、ピアノ", DRUMS_BASS, None),
        ("没有鼓，也不要贝斯，只要钢琴", DRUMS_BASS, None),
        ("피아노, 드럼은 넣지 마", ("drums",), None),
        ("드럼 빼고 피아노", ("drums",), None),
        ("슬프지 않은 피아노", ("sad",), None),
        ("너무 빠르지 않게, 피아노", ("fast",), None),
        ("nicht trauriges Klavier", ("sad",), None),
        ("Klavier, bitte nicht schnell", ("fast",), None),
        ("n'utilise pas de batterie, piano", ("drums",), None),
        ("piano pas trop rapide", ("fast",), None),
        ("no uses batería, piano", ("drums",), None),
        ("piano que no sea triste", ("sad",), None),
        ("ドラムを入れないで、ピアノ", ("drums",), None),
        ("悲しくないピアノ", ("sad",), None),
        ("不悲伤的钢琴", ("sad",), None),
        # nothing is denied
        ("not only piano but also drums", (), None),
        ("don't forget the drums", (), None),
        ("no. 5 symphony", (), None),
        ("why not drums", (), None),
        ("不错的钢琴", (), None),
    ],
)
def test_a_denial_is_what_is_named_behind_it(text: str, denied: tuple[str, ...], left: str | None) -> None:
    assert wording_of(text).denied == denied
    read = translate(text).text
    assert "piano" not in denied and (left is None or plainly(read) == left)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bass, no drums until 5 s", "bass, drums at 5 s"),
        ("no drums for the first 5 s, bass", "drums at 5 s, bass"),
        ("no drums after 5 s", "drums until 5 s"),
        ("drums, but not until 5 s", "drums, but at 5 s"),
        ("bass, no drums", "bass, no drums"),
    ],
)
def test_what_is_denied_for_a_time_comes_then(text: str, said: str) -> None:
    assert timed(text) == said


@pytest.mark.parametrize(
    "text", ["piano, not too fast", "Klavier, nicht traurig", "piano, no sad", "피아노, 너무 빠르지 않게"]
)
def test_what_is_denied_chooses_no_plan(text: str) -> None:
    assert make_plan(text, duration=10, seed=7) == make_plan("piano", duration=10, seed=7)
    found = understand(text, duration=10, seed=7, plan=make_plan(text, duration=10, seed=7))
    assert [note.what for note in found.notes] == ["words"] and "left out" in found.notes[0].said


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("piano without drums and bass", "without drums, bass"),
        ("drumless piano", "without drums"),
        ("piano w/o drums", "without drums"),
        ("Klavier ohne Schlagzeug und Bass", "understood: piano no drums, no bass"),
        ("(piano:2) with strings", "seed 7"),
        ("(drums:0) rock", "seed 7"),
    ],
)
def test_the_line_says_what_is_denied(text: str, end: str) -> None:
    found = understand(
        text, duration=10, seed=7, plan=make_plan(text, duration=10, seed=7), vocabulary=vocabulary_of(music=True)
    )  # fmt: skip
    assert found.line().endswith(end) and not found.remarks("it")
    assert without_denials("piano without drums and bass").strip() == "piano"
    assert unweighted("(drums:0) rock").strip() == "rock"


def test_denials_of_any_length_are_read_at_once() -> None:
    for piece in (
        "no drums, ",
        "no a, ",
        "no ",
        "without drums and ",
        "bass, ",
        "not ",
        "don't ",
        "(a",
        "do not be in it ",
    ):
        text = ("no drums, " + piece * (4000 // len(piece)))[:4000]
        start = time.process_time()
        wording_of(text)
        plainly(text)
        assert time.process_time() - start < 1, piece
