"""Every format in, every format out: the model stays the same model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from audiocraft.checkpoints.read import read
from audiocraft.checkpoints.torch_files.upgrade import read_release_config
from audiocraft.checkpoints.write import write_model, write_release
from audiocraft.cli.main import main
from audiocraft.config.decode import encode
from audiocraft.config.networks import CompressionConfig, EncodecConfig, LMConfig, RVQConfig, SEANetConfig
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models import MusicGen, debug
from audiocraft.models.builders import build_codec, get_debug_compression_model, get_debug_lm_model
from audiocraft.models.conversion import convert
from audiocraft.models.loaders import load_compression_model, load_lm
from audiocraft.utils.export import export_encodec


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def t5(golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(golden_dir / "_hf_home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


@pytest.fixture
def codec_file(tmp_path: Path) -> Path:
    """The debug codec in our format."""
    config, tensors = encode(debug.codec_config()), get_debug_compression_model().state_dict()
    return write_model(tmp_path / "codec", kind="compression", config=config, tensors=tensors)


@pytest.mark.usefixtures("t5")
def test_golden_musicgen_in_every_format(golden_dir: Path, tmp_path: Path) -> None:
    """Released -> ours -> released -> transformers -> ours, and it still says the same."""
    steps = [("ours", "one"), ("release", "two"), ("transformers", "three"), ("ours", "four")]
    name = golden_dir / "musicgen"
    for to, folder in steps:
        name = convert(name, tmp_path / folder, to=to)  # type: ignore[arg-type]
    first, config = load_lm(golden_dir / "musicgen")
    last, _ = load_lm(name)
    assert same(first.state_dict(), last.state_dict())
    before = load_compression_model(golden_dir / "musicgen").state_dict()
    assert same(before, load_compression_model(name / "codec").state_dict())
    assert LMConfig.select(read(tmp_path / "two", kind="lm").config).transformer_lm == config.transformer_lm
    tokens = []
    for place in (golden_dir / "musicgen", name):
        model = MusicGen.get_pretrained(str(place), device="cpu")
        model.set_generation_params(use_sampling=False, duration=1.0, cfg_coef=3.0)
        tokens.append(model.generate(["a b c", "drums"], return_tokens=True)[1])
    assert torch.equal(*tokens)


def test_a_public_text_encoder_is_named_and_another_travels_along(
    tmp_path: Path, golden_dir: Path, t5: None
) -> None:
    convert(golden_dir / "musicgen", tmp_path / "there", to="transformers")
    convert(tmp_path / "there", tmp_path / "ours")
    entry = json.loads((tmp_path / "ours" / "config.json").read_text())["config"]["conditioners"][
        "description"
    ]
    assert (
        entry["t5"]["name"] == "./text_encoder"
        and (tmp_path / "ours" / "text_encoder" / "tokenizer.json").is_file()
    )
    (tmp_path / "ours").rename(tmp_path / "moved")
    load_lm(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="not a published T5"):
        convert(tmp_path / "there", tmp_path / "release", to="release")


def test_released_files_hold_what_the_original_looks_for(codec_file: Path, tmp_path: Path) -> None:
    path = write_release(tmp_path, read(codec_file, kind="compression"))
    package = torch.load(path, weights_only=True)
    assert set(package) == {"best_state", "xp.cfg", "version", "exported"}
    tree = read_release_config(package["xp.cfg"], source="x")
    assert (
        tree["compression_model"] == "encodec"
        and tree["device"] == "cpu"
        and tree["seanet"]["ratios"] == [10, 8, 16]
    )
    assert not any("parametrizations" in name for name in package["best_state"])
    with pytest.raises(CheckpointError, match="no conditioner for description, plan"):
        folder = write_model(
            tmp_path / "lm",
            kind="lm",
            config=encode(debug.lm_config()),
            tensors=get_debug_lm_model().state_dict(),
        )
        write_release(tmp_path, read(folder, kind="lm"))


def test_training_checkpoints(codec_file: Path, tmp_path: Path) -> None:
    """Of a run of the original: its configuration is a pickled object, the averaged weights are the ones in use."""
    omegaconf = pytest.importorskip("omegaconf")
    found = read(codec_file, kind="compression")
    tree = {**found.config, "rate": "${sample_rate}", "path": Path("/data/x")}
    first = {name: value + 1 if value.is_floating_point() else value for name, value in found.tensors.items()}
    state = {
        "xp.cfg": omegaconf.OmegaConf.create(tree),
        "xp.sig": "1234abcd",
        "history": [{"train": {"loss": 1.0}}],
        "model": first,
        "best_state": {"model": first},
        "ema": {"state": {"model": dict(found.tensors)}, "count": {"model": 3}},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]},
    }
    (tmp_path / "run").mkdir()
    torch.save(state, tmp_path / "run" / "checkpoint.th")
    again = read(tmp_path / "run", kind="compression")
    assert same(dict(again.tensors), dict(found.tensors)) and again.config["rate"] == 32000
    load_compression_model(tmp_path / "run" / "checkpoint.th")
    exported = export_encodec(tmp_path / "run" / "checkpoint.th", tmp_path / "codec.bin")
    assert same(dict(read(exported, kind="compression").tensors), dict(found.tensors))
    state["ema"] = None
    torch.save(state, tmp_path / "run" / "checkpoint.th")
    assert same(dict(read(tmp_path / "run", kind="compression").tensors), first)


@pytest.mark.parametrize("stereo", [False, True])
def test_codecs_of_2022(stereo: bool, tmp_path: Path) -> None:
    """Bare tensors in one file: shapes say what the model is."""
    rate, channels = (48000, 2) if stereo else (24000, 1)
    config = CompressionConfig(
        sample_rate=rate,
        channels=channels,
        encodec=EncodecConfig(sample_rate=rate, channels=channels, causal=not stereo, renormalize=stereo),
        seanet=SEANetConfig(
            n_filters=4, dimension=16, ratios=(8, 5, 4, 2), lstm=2, channels=channels, causal=not stereo,
            true_skip=False, pad_mode="reflect", norm="time_group_norm" if stereo else "weight_norm",
        ),
        rvq=RVQConfig(n_q=8, bins=32, kmeans_init=False),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build_codec(config)
        wav = torch.randn(1, channels, rate // 2) * 0.1
    path = tmp_path / f"encodec_{rate // 1000}khz-0123abcd.th"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=stereo)
    again = load_compression_model(path)
    assert again.sample_rate == rate and again.num_codebooks == 8 and again.channels == channels
    codes, scale = model.encode(wav)
    assert torch.equal(again.encode(wav)[0], codes)
    length = codes.shape[-1] * 320
    # In chunks, overlaps are weighted means, which round.
    wanted, found = (one.decode(codes, scale)[..., :length] for one in (model, again))
    assert torch.allclose(found, wanted, atol=1e-6)


def test_first_releases(tmp_path: Path) -> None:
    text = "transformer_lm: {q_modeling: delay, dim: 8, layer_drop: 0.0, residual_balancer_attn: null}"
    lm = read_release_config(text, source="x")
    assert lm == {"transformer_lm": {"dim": 8}, "codebooks_pattern": {"modeling": "delay"}}
    with pytest.raises(CheckpointError, match=r"transformer_lm\.layer_drop is switched on"):
        read_release_config("transformer_lm: {layer_drop: 0.1}", source="x")


def test_impossible_formats(codec_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the original cannot build this language model"):
        convert("nano", tmp_path / "x", to="release")
    assert not any(path.is_file() for path in (tmp_path / "x").glob("*"))
    with pytest.raises(InvalidInput, match="one of ours, release, transformers, onnx"):
        convert(codec_file, tmp_path / "x", to="tflite")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="float8"):
        convert(codec_file, tmp_path / "x", dtype="float8")  # type: ignore[arg-type]
    tree = json.loads((codec_file / "config.json").read_text())
    tree["config"]["seanet"]["activation"] = "GELU"
    (codec_file / "config.json").write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=r"seanet\.activation 'ELU' only; this model has 'GELU'"):
        convert(codec_file, tmp_path / "x", to="transformers")
    assert not (tmp_path / "x").exists()


PEAK = """
import os, resource, sys, torch
from audiocraft.models.loaders import load_lm
load_lm("debug")
for path in sys.argv[1:]:  # each in a process of its own, since a peak stays
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        lm, _ = load_lm(path)
        assert not {"torch._dynamo", "sympy"} & set(sys.modules)  # seconds and 90 MB, for nothing
        bytes_of = sum(v.numel() * v.element_size() for v in lm.state_dict().values())
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        os.write(1, f"{path} {peak / bytes_of}\\n".encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the peak of a process as Linux counts it"
)
def test_loading_needs_little_more_than_the_weights(tmp_path: Path) -> None:
    """Converting while reading would otherwise hold the stored copy and the converted one. Of folders and of released
    files, in single and half precision."""
    tree = encode(debug.lm_config())
    tree["transformer_lm"].update(dim=512, num_layers=8, num_heads=8)
    from audiocraft.models.builders import build_lm

    lm = build_lm(LMConfig.select(tree), device="meta")
    tensors = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in lm.state_dict().items()}
    paths = []
    for dtype in ("float32", "float16"):
        released, kind = tmp_path / dtype / "state_dict.bin", getattr(torch, dtype)
        released.parent.mkdir()
        best = {
            name: value.to(kind) if value.is_floating_point() else value for name, value in tensors.items()
        }
        torch.save({"best_state": best, "xp.cfg": json.dumps(tree)}, released)
        folder = tmp_path / f"folder of {dtype}".replace(" ", "-")
        paths += [released, write_model(folder, kind="lm", config=tree, tensors=tensors, dtype=dtype)]  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, paths)],
        capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"},
    )  # fmt: skip
    peaks = dict(line.split() for line in done.stdout.splitlines())
    assert len(peaks) == 4 and all(float(peak) <= 1.2 for peak in peaks.values()), peaks


def test_commands(codec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str]:
        code = main(["models", *words])
        return code, capsys.readouterr().out

    assert run("convert", str(codec_file), str(tmp_path / "hf"), "--to", "transformers") == (
        0,
        f"{tmp_path / 'hf'}\n",
    )
    code, out = run("info", str(tmp_path / "hf"), "--json")
    entry = json.loads(out)
    assert code == 0 and entry["kind"] == "codec" and entry["license"] is None
    assert entry["meta"]["transformers"] == "encodec"
    code, out = run("verify", str(codec_file), "--json")
    assert code == 0 and [file["status"] for file in json.loads(out)["files"]] == ["ok"]
    header = json.loads((codec_file / "config.json").read_text())
    header["sha256"]["model.safetensors"] = "0" * 64
    (codec_file / "config.json").write_text(json.dumps(header))
    code, out = run("verify", str(codec_file))
    assert code == 1 and out.startswith("differs")
    code, out = run("pull", str(codec_file), "--json")
    assert code == 0 and json.loads(out)["parts"][0]["kind"] == "codec"
    code, out = run("list", "--json")
    assert code == 0 and isinstance(json.loads(out)["models"], list)
    assert run("convert", str(codec_file), str(tmp_path / "y"), "--to", "gguf")[0] == 2
