"""A path that ends in a slash is a folder in every command, whatever its name looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiocraft.cli.main import main
from audiocraft.cli.named_folder import NamedFolder


@pytest.fixture
def tone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.2 * np.sin(np.arange(48000) * 0.05), 24000)
    return path


def test_it_has_no_suffix_and_what_is_inside_is_plain() -> None:
    folder = NamedFolder("a/takes.v2")
    assert folder.suffix == "" and str(folder) == str(Path("a/takes.v2"))
    for inside in (folder / "x.wav", folder.joinpath("x.wav")):
        assert inside.suffix == ".wav" and inside == Path("a/takes.v2/x.wav")
    assert folder.parent == Path("a") and not isinstance(folder.parent, NamedFolder)


@pytest.mark.parametrize("name", ["takes.v2", "takes.wav", "takes."])
def test_generate_writes_into_it(tone: Path, name: str) -> None:
    assert main(["generate", "piano", "-d", "0.5", "--seed", "1", "-q", "-o", f"{name}/"]) == 0
    assert [path.name for path in sorted((tone.parent / name).iterdir())] == ["piano.wav", "piano.wav.json"]


def test_codec_writes_into_it(tone: Path) -> None:
    assert main(["codec", "encode", "tone.wav", "-o", "small.v1/", "-q"]) == 0
    assert (tone.parent / "small.v1" / "tone.acx").is_file()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["edit", "loop", "tone.wav", "-o", "x.wav/"], "x.wav"),
        (["song", "make", "s.acproj", "-o", "x.wav/"], ""),
        (["enhance", "tone.wav", "-o", "x.wav/"], "name a file"),
        (["watermark", "embed", "tone.wav", "-o", "x.wav/"], "is a folder"),
        (["evaluate", ".", "--json", "x.json/"], "name a file"),
        (["generate", "piano", "-o", "tone.wav/"], "is a file; leave the slash out"),
    ],
)
def test_what_needs_a_file_refuses_it(
    tone: Path, command: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1, told
    assert [path.name for path in tone.parent.iterdir()] == ["tone.wav"]
