"""Fetching: resumed, checked, cached, refused offline; and the hub through its own client against a local server."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from audiocraft.checkpoints import licences, sources
from audiocraft.checkpoints.download import DownloadSource, fetch
from audiocraft.checkpoints.progress import reporting
from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.verify import check_files
from audiocraft.checkpoints.write import write_model
from audiocraft.errors import CheckpointError, MissingDependency
from audiocraft.models.loaders import load_compression_model

if TYPE_CHECKING:
    from .conftest import Web

CONTENT = bytes(range(256)) * 2000


def gets(web: Web, path: str) -> list[str | None]:
    """The ranges that were asked for."""
    return [wanted for command, asked, wanted in web.asked if command == "GET" and asked == path]


def test_a_broken_download_goes_on_where_it_ended(web: Web, tmp_path: Path) -> None:
    web.files["/m.bin"] = CONTENT
    web.cut["/m.bin"] = [100_000, 50_000]
    steps: list[tuple[str, int, int | None]] = []
    with reporting(lambda *step: steps.append(step)):
        path = fetch(DownloadSource.parse(f"{web.address}/m.bin"), tmp_path / "x" / "m.bin")
    assert path.read_bytes() == CONTENT
    assert gets(web, "/m.bin") == [None, "bytes=100000-", "bytes=150000-"]
    assert steps[0] == ("m.bin", 0, len(CONTENT)) and steps[-1] == ("m.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


def test_what_a_dead_process_left_is_used(web: Web, tmp_path: Path) -> None:
    web.files["/m.bin"] = CONTENT
    web.cut["/m.bin"] = [1000] + [0] * 9
    target = tmp_path / "m.bin"
    with pytest.raises(CheckpointError, match="the first 1000 bytes are kept, try again"):
        fetch(DownloadSource.parse(f"{web.address}/m.bin"), target)
    assert not target.exists()
    web.cut.clear()
    fetch(DownloadSource.parse(f"{web.address}/m.bin"), target)
    assert target.read_bytes() == CONTENT and gets(web, "/m.bin")[-1] == "bytes=1000-"


@pytest.mark.parametrize("tagged", [True, False])
def test_another_version_is_not_glued_to_the_first_part(web: Web, tmp_path: Path, tagged: bool) -> None:
    web.tagged = tagged
    web.files["/m.bin"] = CONTENT
    web.cut["/m.bin"] = [1000] + [0] * 9
    with pytest.raises(CheckpointError):
        fetch(DownloadSource.parse(f"{web.address}/m.bin"), tmp_path / "m.bin")
    web.cut.clear()
    web.files["/m.bin"] = CONTENT[::-1]
    assert (
        fetch(DownloadSource.parse(f"{web.address}/m.bin"), tmp_path / "m.bin").read_bytes() == CONTENT[::-1]
    )


def test_servers_that_fail_are_asked_again_but_not_forever(web: Web, tmp_path: Path) -> None:
    web.status["/m.bin"] = 503
    with pytest.raises(CheckpointError, match="the server answers 503"):
        fetch(DownloadSource.parse(f"{web.address}/m.bin"), tmp_path / "m.bin")
    assert len(web.asked) == 4
    with pytest.raises(CheckpointError, match="the server answers 404 Not Found"):
        fetch(DownloadSource.parse(f"{web.address}/none.bin"), tmp_path / "m.bin")
    assert len(web.asked) == 5


def test_nothing_is_fetched_twice(web: Web, tmp_path: Path) -> None:
    web.files["/m.bin"] = CONTENT
    source = DownloadSource.parse(f"{web.address}/m.bin")
    threads = [threading.Thread(target=fetch, args=(source, tmp_path / "m.bin")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "m.bin").read_bytes() == CONTENT and len(web.asked) == 1


def test_digests_in_file_names_are_checked() -> None:
    assert DownloadSource.parse("https://example.com/v0/encodec_24khz-d7cc33bc.th").sha256 == "d7cc33bc"
    assert DownloadSource.parse("https://example.com/m.bin").sha256 is None


def test_a_codec_at_an_address(web: Web, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/a/compression_state_dict.bin"] = release.read_bytes()
    address = f"{web.address}/a/compression_state_dict.bin"
    codes = load_compression_model(address).encode(torch.zeros(1, 1, 2560))[0]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert torch.equal(load_compression_model(address).encode(torch.zeros(1, 1, 2560))[0], codes)
    path = sources.resolve(address, kind="compression")
    assert [check.status for check in check_files(path)] == ["ok"]
    path.write_bytes(path.read_bytes() + b"x")
    assert [check.status for check in check_files(path)] == ["differs"]
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        sources.resolve(f"{web.address}/b/compression_state_dict.bin", kind="compression")


def test_our_format_at_an_address(web: Web, codec: Checkpoint, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", kind="compression", config=codec.config, tensors=codec.tensors)
    for file in folder.iterdir():
        web.files[f"/m/{file.name}"] = file.read_bytes()
    for name in ("model.safetensors", "config.json"):
        assert load_compression_model(f"{web.address}/m/{name}").num_codebooks == 4


@pytest.fixture
def hub(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The server as the hub; its client reads the environment when it is imported, which may be long ago."""
    constants = pytest.importorskip("huggingface_hub.constants")
    utils = pytest.importorskip("huggingface_hub.utils")
    monkeypatch.setenv("HF_ENDPOINT", web.address)
    template = f"{web.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in (
        ("HF_HUB_OFFLINE", False),
        ("ENDPOINT", web.address),
        ("HF_HUB_DISABLE_XET", True),
        ("HUGGINGFACE_CO_URL_TEMPLATE", template),
    ):
        monkeypatch.setattr(constants, name, value)
    utils.disable_progress_bars()
    return web


@pytest.mark.filterwarnings("ignore")
def test_the_hub(
    hub: Web, release: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    card = b"---\nlicense: cc-by-nc-4.0\n---\n# A codec\n"
    hub.add_repo("someone/codec", {
        "README.md": card,
        "compression_state_dict.bin": release.read_bytes(),
        "unwanted.bin": b"x" * 100,
    })  # fmt: skip
    with caplog.at_level("WARNING"):
        load_compression_model("someone/codec")
        load_compression_model("someone/codec")
    said = [
        record.message for record in caplog.records if "licen" in record.message or "under" in record.message
    ]
    assert said == [
        "the weights of someone/codec are under cc-by-nc-4.0, which does not allow commercial use"
    ]
    assert not any("unwanted" in path for _, path, _ in hub.asked)
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = sources.resolve("someone/codec", kind="compression")
    assert len(hub.asked) == asked
    assert [check.status for check in check_files(path)] == ["ok"]
    assert licences.licence_of(path, {}) == "cc-by-nc-4.0"


@pytest.mark.filterwarnings("ignore")
def test_the_hub_says_no(hub: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="the hub has no model 'someone/nothing'"):
        sources.resolve("someone/nothing", kind="lm")
    hub.add_repo("someone/book", {"README.md": b"x"})
    with pytest.raises(CheckpointError, match="holds no files of the kind"):
        sources.resolve("someone/book", kind="lm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        sources.resolve("someone/codec", kind="compression")


def test_without_the_client_the_way_out_is_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"someone/codec is not on this machine.*\[hub\]"):
        sources.resolve("someone/codec", kind="compression")


def test_pointers_are_followed_to_the_hub(
    tmp_path: Path, codec: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the newer releases do, whose codec is a model of its own."""
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path))
    write_model(tmp_path / "some" / "codec", kind="compression", config=codec.config, tensors=codec.tensors)
    torch.save({"pretrained": "some/codec"}, tmp_path / "compression_state_dict.bin")
    found = read(tmp_path / "compression_state_dict.bin", kind="compression")
    assert found.source.parent == tmp_path / "some" / "codec"


def test_licences(tmp_path: Path) -> None:
    assert licences.licence_of(tmp_path, {"license": "cc0-1.0"}) == "cc0-1.0"
    assert licences.licence_of(tmp_path, {}, "facebook/musicgen-small") == "cc-by-nc-4.0"
    assert licences.licence_of(tmp_path, {}, "someone/else") is None
    (tmp_path / "README.md").write_text("---\ntags: [x]\nlicense: 'mit'\n---\nlicense: none\n")
    assert licences.licence_of(tmp_path / "model.bin", {}) == "mit"


def test_digests_of_our_own_format(tmp_path: Path, codec: Checkpoint) -> None:
    folder = write_model(tmp_path, kind="compression", config=codec.config, tensors=codec.tensors)
    assert [check.status for check in check_files(folder)] == ["ok"]
    header = json.loads((folder / "config.json").read_text())
    header["sha256"] = {"model.safetensors": "0" * 64}
    (folder / "config.json").write_text(json.dumps(header))
    assert [check.status for check in check_files(folder)] == ["differs"]
