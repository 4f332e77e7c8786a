"""`audiocraft song`: a project from the command line, and what is said of slips; nothing is generated here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiocraft.cli.main import main


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
