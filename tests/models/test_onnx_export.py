"""Codecs as ONNX files give the same codes and the same audio in onnxruntime, with standard operators only."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiocraft.cli.main import main
from audiocraft.errors import InvalidInput
from audiocraft.models import CompressionModel
from audiocraft.models.onnx_export import export_codec
from tests.codec.conftest import CODECS, made

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=["nano", "debug", "predicting"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiocraft.models.onnx_export.load_compression_model", codec_of)
        return export_codec(request.param, tmp_path_factory.mktemp("onnx") / request.param)


@cache
def codec_of(name: str) -> CompressionModel:
    return made(name) if name in CODECS else CompressionModel.get_pretrained(name)


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


def music(codec: CompressionModel, frames: int) -> torch.Tensor:
    """[1, C, N]: tones that change, and a little noise."""
    hop = round(codec.sample_rate / codec.frame_rate)
    time = torch.arange(frames * hop) / codec.sample_rate
    steps = 220 * 2 ** (torch.floor(time * 3) % 7 / 12)
    noise = 0.02 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return (0.2 * torch.sin(2 * torch.pi * steps * time) + noise).expand(1, codec.channels, -1).contiguous()


def test_codes_and_audio_are_the_same(exported: Path) -> None:
    codec = codec_of(exported.name)
    encoder, decoder = session(exported / "encoder.onnx"), session(exported / "decoder.onnx")
    for frames in (41, 130):
        wav = music(codec, frames)
        with torch.inference_mode():
            codes = codec.encode(wav)[0]
            audio = codec.decode(codes)
        (found,) = encoder.run(None, {"audio": wav.numpy()})
        assert found.shape == codes.shape
        same = (found == codes.numpy()).all(axis=1)
        # In single precision a frame may lie between two codes; codes that predict are found in double precision.
        assert same.all() if exported.name == "predicting" else same.mean() >= 0.99
        (made,) = decoder.run(None, {"codes": codes.numpy()})
        assert made.shape == audio.shape and np.abs(made - audio.numpy()).max() < 1e-4
        (both,) = decoder.run(None, {"codes": torch.cat([codes, codes]).numpy()})
        assert np.abs(both[1] - audio.numpy()[0]).max() < 1e-4


def test_steps_give_the_whole(exported: Path) -> None:
    about = json.loads((exported / "codec.json").read_text())
    if "decoder_step" not in about["files"]:
        assert exported.name == "debug"
        return
    codec = codec_of(exported.name)
    codes = torch.randint(
        0, about["codes"], (1, about["codebooks"], 90), generator=torch.Generator().manual_seed(1)
    )
    step = session(exported / "decoder_step.onnx")
    state = {part["name"]: np.full(part["shape"], part["value"], part["type"]) for part in about["state"]}
    parts = []
    for first in range(0, 90, 7):
        audio, *after = step.run(None, {"codes": codes[..., first : first + 7].numpy(), **state})
        parts.append(audio)
        state = dict(zip(state, after, strict=True))
    with torch.inference_mode():
        whole = codec.decode(codes).numpy()
    assert np.abs(np.concatenate(parts, axis=-1) - whole).max() < 1e-4


def test_operators_are_those_of_the_standard(exported: Path) -> None:
    for path in exported.glob("*.onnx"):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        assert {node.domain for node in model.graph.node} == {""}


def test_the_command_writes_them(tmp_path: Path) -> None:
    assert main(["models", "convert", "debug", str(tmp_path / "out"), "--to", "onnx"]) == 0
    assert (tmp_path / "out" / "decoder.onnx").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("musicgen-nano", "musicgen-nano is a language model; only codecs can"),
        ("analysis-nano", "is a detector"),
    ],
)
def test_others_are_refused(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "convert", name, str(tmp_path / "out"), "--to", "onnx"]) == 2
    assert words in capsys.readouterr().err


def test_what_hears_whole_clips_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    codec = CompressionModel.get_pretrained("debug")
    codec.renormalize = True
    monkeypatch.setattr("audiocraft.models.onnx_export.load_compression_model", lambda name: codec)
    with pytest.raises(InvalidInput, match="whole clip"):
        export_codec("debug", tmp_path)
