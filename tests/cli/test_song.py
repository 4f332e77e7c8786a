"""`audiocraft song`: a project from the command line, and what is said of slips; nothing is generated here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audiocraft.cli.main import main
from audiocraft.cli.song import release_at
from audiocraft.errors import ConfigError, InvalidInput


def test_a_project_is_written_shown_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "tune.acproj")
    made = [
        "song",
        "new",
        path,
        "-s",
        "verse: calm piano",
        "-s",
        "후렴: 현악",
        "--tempo",
        "120",
        "--key",
        "A minor",
    ]
    assert main([*made, "--seed", "3"]) == 0
    assert "120 bpm  A minor" in capsys.readouterr().out
    assert (
        main(["song", "set", path, "후렴", "--bars", "4", "--transition", "pause", "--layer", "choir"]) == 0
    )
    assert main(["song", "effect", path, "thunder", "--at", "후렴 bar 2 beat 1", "--gain", "2"]) == 0
    capsys.readouterr()
    assert main(["song", "show", path, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["seconds"] == 24.0 and said["effects"][0]["gain_db"] == 2.0
    assert (
        said["sections"][1]["layers"][0]["prompt"] == "choir" and said["sections"][1]["transition"] == "pause"
    )


def test_words_that_do_not_count_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "tune.acproj")
    assert (
        main(["song", "new", path, "-s", "verse: kazoo and zither", "-s", "end: piano", "--seed", "3"]) == 0
    )
    assert "musicgen-nano does not know: kazoo, zither" in capsys.readouterr().err
    assert (
        main(["song", "set", path, "verse", "--prompt", "piano", "--layer", "a zither", "--gain-db", "1"])
        == 0
    )
    said = capsys.readouterr().err
    assert "does not know: zither" in said and "kazoo" not in said
    assert main(["song", "effect", path, "unicorn", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sections"][0]["gain_db"] == 1.0
    assert told["understood"]["unknown"] == ["zither"]
    notes = told["understood"]["notes"]
    assert notes[0] == {"what": "effect", "value": "unicorn", "said": "audiogen-nano does not know: unicorn"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "chorus", "--bars", "4"], "no section 'chorus'"),
        (["set", "verse"], "nothing to change"),
        (["set", "verse", "--transition", "leap"], "cut, blend, pause"),
        (["effect", "rain", "--at", "bridge"], "bridge"),
        (["make", "-o", "out.aiff"], "aiff"),
        (["make", "--folder", "x"], "--formats"),
        (["new", "-s", "verse: piano"], "there already"),
    ],
)
def test_slips_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    path = str(tmp_path / "tune.acproj")
    assert main(["song", "new", path, "-s", "verse: calm piano", "--seed", "1"]) == 0
    capsys.readouterr()
    assert main(["song", words[0], path, *words[1:]]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--gain", "--pan", "--duck", "--seconds", "--seed"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e9", "-1e9", "4.5"])
def test_no_project_is_written_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    """A number is refused before it is in the project, or can be read and made."""
    path = tmp_path / "tune.acproj"
    assert main(["song", "new", str(path), "-s", "verse: calm piano", "--seed", "1"]) == 0
    capsys.readouterr()
    before, allowed = path.read_bytes(), value == "4.5" and option in ("--gain", "--duck", "--seconds")
    commands = [["effect", str(path), "a bell", "--at", "1"]]
    if option not in ("--duck", "--seconds"):
        commands.append(["set", str(path), "verse"])
    for words in commands:
        assert main(["song", *words, option, value]) == (0 if allowed else 2)
        said = capsys.readouterr()
        assert allowed or (path.read_bytes() == before and said.err.count("\n") == 1), said.err
        assert main(["song", "show", str(path)]) == 0
        capsys.readouterr()


def test_bounds_of_a_song_are_those_of_the_server() -> None:
    from audiocraft.server.api.studio_bodies import LayerBody, SongEffectBody, SongSectionBody
    from audiocraft.workflows.studio.project import SongEffect, SongLayer, SongSection

    pairs = [
        (SongLayer(prompt="choir"), LayerBody),
        (SongSection(name="verse", prompt="calm"), SongSectionBody),
        (SongEffect(prompt="a bell", at="0"), SongEffectBody),
    ]
    for record, body in pairs:
        for name in ("gain_db", "pan", "duck_db"):
            if name not in body.model_fields:
                continue
            bounds: dict[str, float] = {}
            for rule in [*body.model_fields[name].metadata, *_inner(body.model_fields[name].annotation)]:
                for end in ("ge", "le"):
                    if hasattr(rule, end):
                        bounds[end] = getattr(rule, end)
            for value in (*bounds.values(), 0.0):
                replace(record, **{name: value})
            for value in (bounds["ge"] - 0.1, bounds["le"] + 0.1, float("nan")):
                with pytest.raises(InvalidInput, match="lies between"):
                    replace(record, **{name: value})


def _inner(kind: Any) -> list[Any]:
    """The rules inside of `Annotated[...] | None`."""
    return [rule for part in getattr(kind, "__args__", ()) for info in getattr(part, "__metadata__", ())
            for rule in getattr(info, "metadata", ())]  # fmt: skip


def test_a_song_that_cannot_be_read_replaces_nothing(tmp_path: Path) -> None:
    from audiocraft.workflows.studio.project import new_song, read_song, write_song

    song = new_song({"verse": "calm piano"}, seed=1)
    path = write_song(tmp_path / "tune.acproj", song)
    broken: Any = replace(song, title=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="title"):
        write_song(path, broken)
    assert read_song(path) == song


def test_a_release_that_nobody_named_takes_no_place(tmp_path: Path) -> None:
    project = tmp_path / "tune.acproj"
    assert release_at(project, None, "flac,mp3", None) == (tmp_path, "tune", "flac,mp3")
    (tmp_path / "tune.mp3").touch()
    (tmp_path / "tune-2.flac").touch()
    assert release_at(project, None, "flac,mp3", None) == (tmp_path, "tune-3", "flac,mp3")
    assert release_at(project, None, "ogg", None) == (tmp_path, "tune", "ogg")
    assert release_at(project, None, "flac,mp3", tmp_path) == (
        tmp_path,
        "tune",
        "flac,mp3",
    )  # which was named
    (tmp_path / "tune.wav").touch()
    assert release_at(project, None, None, None) == (tmp_path, "tune-2", "wav")
