"""What a prompt denies is taken out of its words, and weights are told by saying words more often."""

from __future__ import annotations

import pytest

from audiocraft.music.denying import unweighted, wording_of


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
