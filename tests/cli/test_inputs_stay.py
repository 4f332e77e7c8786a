"""No command writes over what it reads, whatever the file is called, and whoever adds a command has to say so here."""

from __future__ import annotations

import importlib
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.main import get_command

from audiocraft.audio.files import audio_write
from audiocraft.cli.main import COMMANDS, main
from audiocraft.errors import InvalidInput
from audiocraft.utils.files import check_apart
from tests.contracts.test_options import commands_of

CHART = "tempo: 120 bpm\nkey: C major\nmetre: 4/4\n\n| C F |\n"

# By command and (output, input): the words, in which IN is the file that is read and written.
WORDS = {
    "analyze --spectrogram files": "analyze IN.wav --spectrogram IN.wav",
    "codec decode --output source": "codec decode IN.acx -o IN.acx",
    "codec encode --output source": "codec encode IN.wav -o IN.wav",
    "codec encode --output --cover": "codec encode OTHER.wav --cover IN.png -o IN.png",
    "codec tables --output files": "codec tables nano IN.wav -o IN.wav",
    "codec tokens --output files": "codec tokens IN.tar -o IN.tar",
    "data manifest --out folder": "data manifest . -o IN.wav",
    "data scan --out source": "data scan IN.jsonl -o IN.jsonl",
    "edit layers --output --plan": "edit layers calm --layer IN='only strings' --plan folder/IN.wav -o folder",
    "edit loop --output file": "edit loop IN.wav -o IN.wav",
    "edit redo --output file": "edit redo IN.wav 0-1 -o IN.wav",
    "edit extend --output file": "edit extend IN.wav --after 1 -o IN.wav",
    "edit end --output file": "edit end IN.wav -o IN.wav",
    "edit restyle --output file": "edit restyle IN.wav house -o IN.wav",
    "edit restyle --output --plan": "edit restyle OTHER.wav house --plan IN.wav -o IN.wav",
    "enhance --output file": "enhance IN.wav -o IN.wav",
    "evaluate --json --gate": "evaluate folder --gate IN.json --json IN.json",
    "evaluate --json --prompts": "evaluate folder --prompts IN.json --json IN.json",
    "evaluate --json --reference": "evaluate folder --reference IN.json --json IN.json",
    "evaluate --html --gate": "evaluate folder --gate IN.json --html IN.json",
    "evaluate --html --prompts": "evaluate folder --prompts IN.json --html IN.json",
    "evaluate --html --reference": "evaluate folder --reference IN.json --html IN.json",
    "evaluate --save-statistics --gate": "evaluate folder --gate IN.json --save-statistics IN.json",
    "evaluate --save-statistics --prompts": "evaluate folder --prompts IN.json --save-statistics IN.json",
    "evaluate --save-statistics --reference": "evaluate folder --reference IN.json --save-statistics IN.json",
    "generate --output --continue": "generate calm --continue IN.wav -d 5 -o IN.wav",
    "generate --output --drums": "generate calm -m jasco-nano --drums IN.wav -o IN.wav",
    "generate --output --from": "generate calm -m magnet-nano --keep 0-1 --from IN.wav -o IN.wav",
    "generate --output --melody": "generate calm --melody IN.wav -m melody -o IN.wav",
    "generate --output --plan": "generate calm --plan PLAN.wav.json -o PLAN.wav",
    "generate --output --prompts": "generate --prompts IN.txt.wav -o IN.txt.wav",
    "generate --output --style": "generate calm --style IN.wav -m style -o IN.wav",
    "generate --output --tune": "generate calm -m jasco-nano --tune IN.wav -o IN.wav",
    "plan --midi --from": "plan --from PLAN.txt --midi PLAN.txt",
    "plan --output --from": "plan --from PLAN.txt -o PLAN.txt",
    "podcast make --output --chapters": "podcast make OTHER.wav --chapters IN.mp3 -o IN.mp3",
    "podcast make --output voice": "podcast make IN.wav -o IN.wav",
    "remote generate --output --audio": "remote generate calm --audio IN.wav -o IN.wav",
    "remote generate --output --drums": "remote generate calm --drums IN.wav -o IN.wav",
    "remote generate --output --tune": "remote generate calm --tune IN.wav -o IN.wav",
    "watermark embed --output file": "watermark embed IN.wav -o IN.wav",
}
# These write into folders of their own, or files of a kind that they do not read.
APART = {
    "codec batch", "data materials", "data synthesize", "data tokens", "finetune", "game ambience", "game music",
    "game play", "song make", "train",
}  # fmt: skip
FOLDERS = {
    f"evaluate {output} {folder}"
    for output in ("--html", "--json", "--save-statistics")
    for folder in ("folder", "--against")
}
OUTPUTS = {"output", "out", "midi", "spectrogram", "json_file", "html_file", "save_statistics", "stems"}


def _is_path(parameter: Any) -> bool:
    return parameter.display_type(None).strip("<>").lower() in ("path", "list[path]")


def _pairs() -> Iterator[tuple[str, str]]:
    """Yield each command that takes paths to write and to read, with the two."""
    for main_name, (module, _) in COMMANDS.items():
        for name, command in commands_of(get_command(importlib.import_module(module).app), main_name):
            paths = [one for one in command.params if _is_path(one)]
            for output in paths:
                for read in paths:
                    if output.name in OUTPUTS and read.name not in OUTPUTS:
                        called = [max(one.opts, key=len) for one in (output, read)]
                        yield name, " ".join([name, *called])


def test_every_command_is_known_here() -> None:
    found = list(_pairs())
    assert {pair for name, pair in found if name not in APART} == WORDS.keys() | FOLDERS
    assert APART <= {name for name, _ in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of all kinds that commands read; most refusals come before anything of them is."""
    noise = torch.rand(1, 96000, generator=torch.Generator().manual_seed(1)) - 0.5
    for name in ("IN.wav", "OTHER.wav", "PLAN.wav"):
        audio_write(tmp_path / name, noise, 32000, strategy="none", add_suffix=False)
    for name in ("IN.acx", "IN.png", "IN.tar", "IN.mp3"):
        (tmp_path / name).write_bytes(b"something")
    line = {"path": str(tmp_path / "OTHER.wav"), "duration": 3.0, "sample_rate": 32000}
    (tmp_path / "IN.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "IN.json").write_text("{}")
    (tmp_path / "IN.txt.wav").write_text("calm piano\n")
    (tmp_path / "PLAN.txt").write_text(CHART)
    (tmp_path / "PLAN.wav.json").write_text(CHART)
    return tmp_path


@pytest.mark.parametrize("pair", WORDS)
def test_it_is_refused(
    pair: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(shlex.split(WORDS[pair])) == 2
    error = capsys.readouterr().err
    assert "would be lost; name another file" in error, error
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_rows_links_and_sidecars(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    rows = ["generate", "calm", "loud", "--continue", "out-2.wav", "-o", "out.wav"]
    os.rename("IN.wav", "out-2.wav")
    assert main(rows) == 2
    os.symlink("OTHER.wav", "link.wav")
    os.link("OTHER.wav", "hard.wav")
    for name in ("link.wav", "hard.wav", "./sub/../OTHER.wav", str(folder / "OTHER.wav")):
        (folder / "sub").mkdir(exist_ok=True)
        assert main(["enhance", "OTHER.wav", "-o", name]) == 2
    assert main(["watermark", "embed", "OTHER.wav", "-o", "OTHER"]) == 2  # which means OTHER.wav
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6 and all("would be lost" in line for line in said), said
    assert "link.wav is read, as OTHER.wav, and" in said[1]


def test_absent_files_are_compared_by_name(tmp_path: Path) -> None:
    check_apart([tmp_path / "new.wav"], [tmp_path / "old.wav", None])
    with pytest.raises(InvalidInput, match="is read"):
        check_apart([tmp_path / "new.wav"], [tmp_path / "sub" / ".." / "new.wav"])


def test_a_recipe_does_not_write_over_what_it_started_from(folder: Path) -> None:
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.loaders import load_model
    from audiocraft.workflows.live import render_live
    from audiocraft.workflows.origins import Origin, continuation_of
    from audiocraft.workflows.render import render

    model, request = load_model("musicgen-nano"), GenerationRequest(prompts=("calm",), duration=1.0)
    origin = Origin(continues=continuation_of(folder / "IN.wav"))
    with pytest.raises(InvalidInput, match="would be lost"):
        render(model, request, [folder / "IN.wav"], origin=origin)
    with pytest.raises(InvalidInput, match="would be lost"):
        render_live(model, request, folder / "IN.wav", origin=origin)
