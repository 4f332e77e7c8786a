"""The official models: what is built for each has exactly the tensors of its files, by name and shape."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audiocraft.checkpoints.families import family_called
from audiocraft.checkpoints.torch_files.upgrade import read_release_config
from audiocraft.checkpoints.transformers.names import encodec_names, encodec_to_hf, old_weight_norm
from audiocraft.config.flow import FlowConfig
from audiocraft.config.networks import CompressionConfig, LMConfig
from audiocraft.models import builders
from audiocraft.modules.conditioners import text
from audiocraft.modules.conditioners.t5 import T5Architecture, T5Encoder

LANGUAGE_MODELS = ("musicgen-small", "musicgen-medium", "musicgen-large", "musicgen-melody",
                   "musicgen-stereo-small", "musicgen-style", "audiogen-medium")  # fmt: skip


def manifest(golden_dir: Path, name: str, file: str) -> dict[str, Any]:
    path = golden_dir.parent / "manifests" / f"{name}.json.gz"
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["files"][file]
    return content


def shapes(content: dict[str, Any]) -> dict[str, list[int]]:
    return {name: shape for name, (shape, _) in content["state"].items()}


@pytest.fixture
def _paper_t5(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text encoders that have a width and nothing else: they are not in the files."""

    def laid_out(name: str, **_: Any) -> T5Encoder:
        width = text.T5Conditioner.MODELS_DIMS[name]
        config = T5Architecture(d_model=width, d_kv=8, d_ff=8, num_layers=1, num_heads=1, vocab_size=2)
        return T5Encoder(config)

    monkeypatch.setattr(text.T5Encoder, "from_pretrained", laid_out)
    monkeypatch.setattr(text.T5Tokenizer, "from_pretrained", lambda name: None)


@pytest.mark.usefixtures("_paper_t5")
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models(golden_dir: Path, name: str) -> None:
    released = manifest(golden_dir, name, "state_dict.bin")
    config = LMConfig.select(read_release_config(released["cfg_yaml"], source=name))
    model = builders.build_lm(config, device="meta")
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == shapes(released)


@pytest.mark.usefixtures("_paper_t5")
def test_jasco_chords_drums(golden_dir: Path) -> None:
    """Beside its own tensors the file carries a copy of the codec, which is loaded as such."""
    released = manifest(golden_dir, "jasco-chords-drums-400M", "state_dict.bin")
    config = FlowConfig.select(read_release_config(released["cfg_yaml"], source="jasco-chords-drums-400M"))
    model = builders.build_flow(config, device="meta")
    carried = family_called("jasco").carries
    assert carried is not None
    wanted = shapes(released)
    own = {name: shape for name, shape in wanted.items() if not name.startswith(carried)}
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == own
    copy = {name.removeprefix(carried): shape for name, shape in wanted.items() if name.startswith(carried)}
    hub = shapes(manifest(golden_dir, "hf_encodec_32khz", "model.safetensors / pytorch_model.bin"))
    assert {old_weight_norm(name) for name in copy} == {old_weight_norm(name) for name in hub}


def test_the_codec_of_musicgen_in_both_formats(golden_dir: Path) -> None:
    """That of the hub has a convolution beside each residual block where the released file has the identity."""
    released = manifest(golden_dir, "encodec_32khz_compression", "compression_state_dict.bin")
    hub = shapes(manifest(golden_dir, "hf_encodec_32khz", "model.safetensors / pytorch_model.bin"))
    ours = {mine: hub[theirs] for theirs, mine in encodec_names(list(hub)).items()}
    assert {name: shape for name, shape in ours.items() if ".shortcut." not in name} == shapes(released)
    config = CompressionConfig.select(read_release_config(released["cfg_yaml"], source="x"))
    model = builders.build_codec(
        replace(config, seanet=replace(config.seanet, true_skip=False)), device="meta"
    )
    assert {key: list(value.shape) for key, value in encodec_to_hf(model.state_dict()).items()} == hub
