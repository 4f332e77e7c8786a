"""Damaged, wrong and malicious models: one clear error each, nothing is run, nothing is left behind."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from audiocraft.checkpoints import download, sources
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.write import write_model
from audiocraft.cli.main import main
from audiocraft.cli.output import FAILED
from audiocraft.errors import CheckpointError
from audiocraft.models.loaders import load_compression_model, load_lm_model

if TYPE_CHECKING:
    from .conftest import Web

Case = Callable[[Path, Checkpoint], Path]
CASES: dict[str, tuple[Case, str]] = {}
MARK = "AUDIOCRAFT_WAS_HERE"
"""Malicious files try to create a file of this name."""


def case(words: str) -> Callable[[Case], Case]:
    """A way to spoil a codec: from a folder and the sound codec to what is loaded; `words` are in the error."""

    def register(build: Case) -> Case:
        CASES[build.__name__] = (build, words)
        return build

    return register


def ours(folder: Path, codec: Checkpoint, **changes: Tensor) -> Path:
    return write_model(folder, kind="compression", config=codec.config, tensors={**codec.tensors, **changes})


def released(folder: Path, codec: Checkpoint, **changes: Any) -> Path:
    package = {"best_state": dict(codec.tensors), "xp.cfg": json.dumps(codec.config), **changes}
    path = folder / "compression_state_dict.bin"
    torch.save(package, path)
    return path


def edited(folder: Path, codec: Checkpoint, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Our format with a changed configuration."""
    path = ours(folder, codec) / "config.json"
    header = json.loads(path.read_text())
    edit(header["config"])
    path.write_text(json.dumps(header))
    return folder


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


FIRST = "encoder.model.0.conv.conv.bias"


@case("damaged")
def truncated_zip(folder: Path, codec: Checkpoint) -> Path:
    path = released(folder, codec)
    path.write_bytes(path.read_bytes()[:-3000])
    return path


@case("damaged")
def zip_with_a_hole(folder: Path, codec: Checkpoint) -> Path:
    """The directory is sound, the structure inside is noise."""
    path = folder / "hole.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", random.Random(0).randbytes(500))
        archive.writestr("archive/version", "3\n")
    return path


@case("damaged")
def zip_that_unpacks_to_gigabytes(folder: Path, codec: Checkpoint) -> Path:
    path = folder / "bomb.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w") as file:
            for _ in range(300):
                file.write(bytes(2**20))
        archive.writestr("archive/version", "3\n")
    return path


@case("damaged")
def storage_larger_than_the_file(folder: Path, codec: Checkpoint) -> Path:
    """The structure promises more numbers than there are."""
    whole, path = io.BytesIO(), folder / "short.bin"
    torch.save({"best_state": {"w": torch.zeros(4000)}, "xp.cfg": "{}"}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry.filename, content[:16] if "/data/" in entry.filename else content)
    return path


@case(r"other shapes for .*\(expected \[4\], found \[5\]\)")
def wrong_shape(folder: Path, codec: Checkpoint) -> Path:
    return ours(folder, codec, **{FIRST: torch.zeros(5)})


@case(r"is missing encoder\.model\.0\.conv\.conv\.bias")
def missing_key(folder: Path, codec: Checkpoint) -> Path:
    rest = {name: value for name, value in codec.tensors.items() if name != FIRST}
    return write_model(folder, kind="compression", config=codec.config, tensors=rest)


@case(r"has no use for encoder\.extra")
def extra_key(folder: Path, codec: Checkpoint) -> Path:
    return ours(folder, codec, **{"encoder.extra": torch.zeros(1)})


@case(r"decoder\.model\.0\.conv\.conv\.bias holds values that are no numbers")
def not_a_number(folder: Path, codec: Checkpoint) -> Path:
    value = codec.tensors["decoder.model.0.conv.conv.bias"].clone()
    value[1] = torch.nan
    return ours(folder, codec, **{"decoder.model.0.conv.conv.bias": value})


@case("holds values that are no numbers")
def infinite(folder: Path, codec: Checkpoint) -> Path:
    best = {**codec.tensors, FIRST: torch.full((4,), -torch.inf)}
    return released(folder, codec, best_state=best)


@case("is a str, not a tensor")
def words_for_weights(folder: Path, codec: Checkpoint) -> Path:
    return released(folder, codec, best_state={**codec.tensors, FIRST: "zero"})


@case(r"asks for (posix|nt)\.system")
def pickle_runs_a_command(folder: Path, codec: Checkpoint) -> Path:
    return released(folder, codec, extra=Runs(os.system, f"touch {folder / MARK}"))


@case(r"asks for (builtins|__builtin__)\.eval")
def pickle_evaluates(folder: Path, codec: Checkpoint) -> Path:
    """Deep inside the weights."""
    code = f"open({str(folder / MARK)!r}, 'w')"
    return released(folder, codec, best_state={**codec.tensors, "x": [{"y": Runs(eval, code)}]})


@case(r"asks for shutil\.copyfile")
def pickle_without_zip(folder: Path, codec: Checkpoint) -> Path:
    path = folder / "old.th"
    content = {"best_state": Runs(shutil.copyfile, __file__, str(folder / MARK)), "xp.cfg": ""}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


@case(r"asks for (_io|io)\.open")
def pickle_of_a_new_protocol(folder: Path, codec: Checkpoint) -> Path:
    path = folder / "new.bin"
    torch.save({"best_state": Runs(open, str(folder / MARK), "w")}, path, pickle_protocol=4)
    return path


@case(r"asks for omegaconf\.omegaconf\.open")
def pickle_through_the_allowed_package(folder: Path, codec: Checkpoint) -> Path:
    """Not everything of the package whose shells are known."""
    path = folder / "configured.bin"
    path.write_bytes(b"\x80\x02comegaconf.omegaconf\nopen\n(V" + str(folder / MARK).encode() + b"\nVw\ntR.")
    return path


@case("larger or deeper than any model's")
def pickle_of_doubling_lists(folder: Path, codec: Checkpoint) -> Path:
    """Thirty lists that hold the one before twice: a few bytes, a billion values."""
    laughs: Any = ["ha"]
    for _ in range(30):
        laughs = [laughs, laughs]
    return released(folder, codec, **{"xp.cfg": {"laughs": laughs}})


@case("unfolds to more than any model's")
def yaml_of_doubling_lists(folder: Path, codec: Checkpoint) -> Path:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30))]
    return released(folder, codec, **{"xp.cfg": "\n".join(lines)})


@case("not valid YAML")
def yaml_that_runs_a_command(folder: Path, codec: Checkpoint) -> Path:
    text = f"x: !!python/object/apply:os.system ['touch {folder / MARK}']"
    return released(folder, codec, **{"xp.cfg": text})


@case("not valid YAML|nested more deeply")
def yaml_without_a_bottom(folder: Path, codec: Checkpoint) -> Path:
    return released(folder, codec, **{"xp.cfg": "a: " + "[" * 100_000 + "]" * 100_000})


@case("points to the address")
def pointer_to_an_address(folder: Path, codec: Checkpoint) -> Path:
    path = folder / "compression_state_dict.bin"
    torch.save({"pretrained": "https://example.com/evil.bin"}, path)
    return path


@case("leads out of the model's folder")
def link_out_of_the_folder(folder: Path, codec: Checkpoint) -> Path:
    secret = folder / "secret.safetensors"
    model = ours(folder / "model", codec)
    shutil.move(model / "model.safetensors", secret)
    (model / "model.safetensors").symlink_to(secret)
    return model


@case("leads out of the model's folder")
def shards_out_of_the_folder(folder: Path, codec: Checkpoint) -> Path:
    settings = {"model_type": "encodec", "sampling_rate": 32000}
    (folder / "config.json").write_text(json.dumps(settings))
    index = {"weight_map": {"x": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@case("damaged or no safetensors")
def header_of_exabytes(folder: Path, codec: Checkpoint) -> Path:
    path = ours(folder, codec) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    return folder


@case("damaged or no safetensors")
def safetensors_cut_off(folder: Path, codec: Checkpoint) -> Path:
    path = ours(folder, codec) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


@case("damaged or no safetensors")
def tensors_on_top_of_each_other(folder: Path, codec: Checkpoint) -> Path:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path = ours(folder, codec) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return folder


@case("not valid JSON")
def json_without_a_bottom(folder: Path, codec: Checkpoint) -> Path:
    (ours(folder, codec) / "config.json").write_text("[" * 100_000)
    return folder


@case("expected int, got 'many'")
def words_for_numbers(folder: Path, codec: Checkpoint) -> Path:
    return edited(folder, codec, lambda config: config["rvq"].update(n_q="many"))


@case("missing or impossible setting|is missing from config.json")
def foreign_settings_of_a_wrong_kind(folder: Path, codec: Checkpoint) -> Path:
    settings = {
        "model_type": "encodec",
        "sampling_rate": "fast",
        "upsampling_ratios": [0],
        "audio_channels": 1,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    save_file({"encoder.layers.0.conv.bias": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@case("holds a configuration but no weights")
def run_without_weights(folder: Path, codec: Checkpoint) -> Path:
    path = folder / "checkpoint.th"
    torch.save({"xp.cfg": dict(codec.config), "model": {}, "best_state": {"model": {}}}, path)
    return path


@case("no (codec|language model) called")
def name_out_of_the_cache(folder: Path, codec: Checkpoint) -> Path:
    return Path("../../../../no/model")


@pytest.mark.parametrize("name", CASES)
def test_bad_models_are_refused_with_a_reason(
    name: str, codec: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, words = CASES[name]
    target = build(tmp_path, codec)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_compression_model(target)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    assert main(["models", "verify", str(target)]) == FAILED
    said = capsys.readouterr()
    assert not said.out and re.fullmatch(f"error: .*({words}).*\n", said.err)
    assert not (tmp_path / MARK).exists()


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 25


def test_a_codec_is_no_language_model(codec: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a codec, not a language model"):
        load_lm_model(released(tmp_path, codec))
    with pytest.raises(CheckpointError, match="not a language model"):
        load_lm_model(ours(tmp_path / "ours", codec))


def cached(cache: Path) -> list[str]:
    """Files a later call would take for models; hidden ones are unfinished."""
    return [str(path) for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_wrong_hash(web: Web, release: Path, tmp_path: Path) -> None:
    content = release.read_bytes()
    web.files["/m.bin"] = content
    with pytest.raises(CheckpointError, match="is expected: nothing was kept"):
        load_compression_model(f"{web.address}/m.bin#sha256={'0' * 64}")
    assert not cached(tmp_path / "cache")
    good = f"{web.address}/m.bin#sha256={hashlib.sha256(content).hexdigest()}"
    load_compression_model(good)
    with pytest.raises(CheckpointError, match="delete it to fetch it again"):
        sources.resolve(f"{web.address}/m.bin#sha256={'1' * 64}", kind="compression")


def test_disk_full(web: Web, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/m.bin"] = release.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download.os, "fsync", full)
        with pytest.raises(CheckpointError, match="the disk is full"):
            sources.resolve(f"{web.address}/m.bin", kind="compression")
    assert not [path for path in (tmp_path / "cache").rglob("*.part*")] and not cached(tmp_path / "cache")
    load_compression_model(f"{web.address}/m.bin")


def test_no_room_is_known_before(web: Web, tmp_path: Path) -> None:
    web.files["/m.bin"] = b"x" * 100
    web.length["/m.bin"] = 10**18
    with pytest.raises(CheckpointError, match=r"needs 1000000000000\.0 MB"):
        sources.resolve(f"{web.address}/m.bin", kind="compression")
    assert not cached(tmp_path / "cache")


def test_a_page_instead_of_a_model(web: Web, tmp_path: Path) -> None:
    """A login page with status 200 is kept as a file, and refused as a model each time with its place."""
    web.files["/m.bin"] = b"<html>please log in</html>"
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"m\.bin is damaged or no weight file"):
            load_compression_model(f"{web.address}/m.bin")


@pytest.mark.parametrize(
    "address",
    ["http://example.com/m.bin", "https://example.com/", "https:///m.bin", "https://example.com/.m.bin",
     "https://example.com/m.bin#sha256=12"],
)  # fmt: skip
def test_addresses_that_are_not_asked(address: str, web: Web) -> None:
    with pytest.raises(CheckpointError, match=r"is not encrypted|names no file|is no address|is no SHA-256"):
        sources.resolve(address, kind="compression")


def test_redirections_do_not_lose_encryption(web: Web, tmp_path: Path) -> None:
    web.redirect["/m.bin"] = "file:///etc/passwd"
    with pytest.raises(CheckpointError, match=r"cannot fetch|the server answers"):
        sources.resolve(f"{web.address}/m.bin", kind="compression")
    assert not cached(tmp_path / "cache")


def test_spoiled_files_stay_as_they_are(codec: Checkpoint, tmp_path: Path) -> None:
    """Refusing a model changes nothing on the disk."""
    path = ours(tmp_path, codec, **{FIRST: torch.zeros(5)}) / "model.safetensors"
    before = path.read_bytes()
    with pytest.raises(CheckpointError):
        load_compression_model(tmp_path)
    assert path.read_bytes() == before and load_file(path)
