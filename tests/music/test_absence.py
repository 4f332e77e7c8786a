"""Who does not play: denied instruments, and those that a list leaves out where no style promises them."""

from __future__ import annotations

import pytest

from audiocraft.checkpoints.facts import facts_of
from audiocraft.music.absence import absent_kinds
from audiocraft.music.scenes import read_scene
from audiocraft.music.sound_kinds import SoundKinds


@pytest.fixture(scope="module")
def kinds() -> SoundKinds:
    found = facts_of("musicgen-nano").sound_kinds
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "denied", "open_ones"),
    [
        ("calm piano", None, {"piano"}),
        ("piano and violin", None, {"piano", "violin"}),
        ("piano, drums at 5 s", None, {"piano", "drums"}),
        ("rock with electric guitar and organ", None, {"electric guitar", "organ"}),
        ("rock with electric guitar and organ", "drums", {"electric guitar", "organ"}),
        ("calm piano", "drums", {"piano"}),
    ],
)
def test_a_list_leaves_out_all_others(
    text: str, denied: str | None, open_ones: set[str], kinds: SoundKinds
) -> None:
    scene = read_scene(text, kinds, duration=10.0, seed=1).scene
    assert {*kinds.ways} - {*absent_kinds(scene, text, denied, kinds)} == open_ones


@pytest.mark.parametrize("text", ["jazz", "lofi hip hop with piano", "something sad", "", None])
def test_what_is_no_list_leaves_everything_open(text: str | None, kinds: SoundKinds) -> None:
    scene = read_scene(text, kinds, duration=10.0, seed=1).scene
    assert absent_kinds(scene, text, None, kinds) == ()
    assert absent_kinds(scene, text, "drums and bass", kinds) == ("bass", "drums")


def test_what_is_asked_for_is_not_absent(kinds: SoundKinds) -> None:
    scene = read_scene("piano and drums", kinds, duration=10.0, seed=1).scene
    assert not {"piano", "drums"} & {*absent_kinds(scene, "piano and drums", "drums", kinds)}
