"""Weights in and out: what is written is what is read, releases load, and bad files are refused with a reason."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiocraft.checkpoints import sources
from audiocraft.checkpoints.read import read, read_path
from audiocraft.checkpoints.record import Pointer
from audiocraft.checkpoints.torch_files.upgrade import read_release_config, resolved
from audiocraft.checkpoints.transformers.names import encodec_config_from_hf, encodec_from_hf
from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.generation.request import GenerationRequest
from audiocraft.models import MusicGen, debug
from audiocraft.models.builders import get_debug_compression_model, get_debug_lm_model
from audiocraft.models.loaders import load_compression_model, load_lm_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A language model and, beside it, the codec it names."""
    write_model(
        tmp_path / "debug",
        kind="compression",
        config=encode(debug.codec_config()),
        tensors=get_debug_compression_model().state_dict(),
    )
    return write_model(
        tmp_path / "lm",
        kind="lm",
        config=encode(debug.lm_config()),
        tensors=get_debug_lm_model().state_dict(),
        meta={"steps": 3},
    )


def test_saved_models_are_the_same_models(saved: Path) -> None:
    request = GenerationRequest(prompts=("piano, 90 bpm",), seeds=(1,), duration=1.0)
    original = MusicGen.get_pretrained("debug", device="cpu").run(request)
    again = MusicGen.get_pretrained(str(saved), device="cpu").run(request)
    assert torch.equal(original.codes, again.codes) and torch.equal(original.audio, again.audio)
    assert read(saved, kind="lm").meta == {"steps": 3}


def test_half_precision_is_read_back_as_float32(tmp_path: Path) -> None:
    tensors = get_debug_lm_model().state_dict()
    folder = write_model(
        tmp_path / "m", kind="lm", config=encode(debug.lm_config()), tensors=tensors, dtype="float16"
    )
    stored = load_file(folder / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    for name, value in load_lm_model(folder).state_dict().items():
        assert value.dtype in (torch.float32, torch.int64)
        assert torch.equal(value, tensors[name].half().float())


def test_values_too_large_for_half_precision_stay_whole(tmp_path: Path) -> None:
    tensors = {
        "big": torch.tensor([1e6]),
        "small": torch.tensor([1.0]),
        "shared": torch.ones(3),
        "alias": torch.ones(3),
    }
    tensors["alias"] = tensors["shared"]
    folder = write_model(tmp_path, kind="lm", config={}, tensors=tensors, dtype="float16")
    stored = load_file(folder / "model.safetensors")
    assert stored["big"].dtype == torch.float32 and stored["small"].dtype == torch.float16
    assert torch.equal(stored["alias"], stored["shared"])


def test_a_failed_write_leaves_the_old_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_model(saved, kind="lm", config={}, tensors={"x": torch.ones(1)})
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_impossible_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="int4"):
        write_model(tmp_path, kind="lm", config={}, tensors={}, dtype="int4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.bin", b"hello, I am no weight file", "damaged"),
        ("empty.bin", b"", "damaged"),
        ("code.bin", pickle.dumps(print, protocol=2), "run code"),
        ("list.bin", None, "list"),
        ("other.bin", {"model": {}}, "best_state"),
        ("cut.safetensors", b"\x10", "config.json"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: object, words: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1] if content is None else content, path)
    with pytest.raises(CheckpointError, match=words):
        read(path, kind="lm")


def test_our_folders_are_checked(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="not a codec"):
        load_compression_model(saved)
    header = json.loads((saved / "config.json").read_text())
    header["config"]["transformer_lm"]["dim"] = 32
    (saved / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="does not fit its own configuration"):
        load_lm_model(saved)
    header["config"]["transformer_lm"]["dimm"] = 32
    (saved / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="did you mean 'dim'"):
        load_lm_model(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        load_lm_model(saved)
    (saved / "model.safetensors").unlink()
    (saved / "config.json").write_text(json.dumps({"format": 1, "kind": "lm"}))
    with pytest.raises(CheckpointError, match="missing"):
        load_lm_model(saved)


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(tmp_path))
    for name in ("facebook/musicgen-small", "small"):
        with pytest.raises(CheckpointError, match=r"forbids to fetch.*put state_dict\.bin"):
            sources.resolve(name, kind="lm")
    with pytest.raises(CheckpointError, match="forbids to fetch"):
        sources.resolve("https://example.com/m.bin", kind="lm")
    with pytest.raises(CheckpointError, match=r"no language model called 'smal': did you mean 'small'"):
        sources.resolve("smal", kind="lm")
    folder = tmp_path / "facebook" / "musicgen-small"
    folder.mkdir(parents=True)
    (folder / "state_dict.bin").write_bytes(b"")
    assert sources.resolve("facebook/musicgen-small", kind="lm") == folder
    assert sources.resolve("small", kind="lm") == folder


def test_pointers_do_not_run_in_circles(tmp_path: Path) -> None:
    path = tmp_path / "compression_state_dict.bin"
    torch.save({"pretrained": str(path)}, path)
    assert isinstance(read_path(path, kind="compression"), Pointer)
    with pytest.raises(CheckpointError, match="points back"):
        read(path, kind="compression")


def test_release_config() -> None:
    text = (
        "sample_rate: 16000\nseanet: {rate: '${sample_rate}'}\ntransformer_lm: {q_modeling: delay, dim: 8}\n"
    )
    tree = read_release_config(text, source="x")
    assert tree["seanet"] == {"rate": 16000}
    assert tree["codebooks_pattern"] == {"modeling": "delay"} and tree["transformer_lm"] == {"dim": 8}
    for tree, words in (({"a": "${b}"}, "does not hold"), ({"a": "${b}", "b": "${a}"}, "refers to itself")):
        with pytest.raises(CheckpointError, match=words):
            resolved(tree, source="x")
    for text in ("a: [", "- 1"):
        with pytest.raises(CheckpointError, match="configuration inside"):
            read_release_config(text, source="x")


def test_hugging_face_names() -> None:
    names = {
        "encoder.layers.0.conv.bias": "encoder.model.0.conv.conv.bias",
        "encoder.layers.1.block.3.conv.weight_g": "encoder.model.1.block.3.conv.conv.weight_g",
        "encoder.layers.1.shortcut.conv.bias": "encoder.model.1.shortcut.conv.conv.bias",
        "encoder.layers.13.lstm.weight_ih_l0": "encoder.model.13.lstm.weight_ih_l0",
        "decoder.layers.0.conv.bias": "decoder.model.0.conv.conv.bias",
        "decoder.layers.3.conv.bias": "decoder.model.3.convtr.convtr.bias",
        "decoder.layers.15.conv.bias": "decoder.model.15.conv.conv.bias",
        "quantizer.layers.2.codebook.embed": "quantizer.vq.layers.2._codebook.embed",
    }
    assert list(encodec_from_hf({name: torch.zeros(1) for name in names})) == list(names.values())
    with pytest.raises(CheckpointError, match="unexpected tensor"):
        encodec_from_hf({"head.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="'bert'"):
        encodec_config_from_hf({"model_type": "bert"})
