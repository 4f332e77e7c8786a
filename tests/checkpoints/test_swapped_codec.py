"""A codec that the language model was not trained with is found out by what the configurations say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.write import write_model, write_release
from audiocraft.config.conditioning import FuserConfig
from audiocraft.config.decode import encode
from audiocraft.config.networks import CompressionConfig, LMConfig
from audiocraft.errors import CheckpointError
from audiocraft.models import debug
from audiocraft.models.builders import build_codec, build_lm, get_debug_lm_model
from audiocraft.models.conversion import convert
from audiocraft.models.loaders import load_generator


def other_codec(config: CompressionConfig, folder: Path) -> None:
    model = build_codec(config)
    write_model(folder, kind="compression", config=encode(config), tensors=model.state_dict())


STEREO = replace(
    debug.codec_config(),
    channels=2,
    encodec=replace(debug.codec_config().encodec, channels=2),
    seanet=replace(debug.codec_config().seanet, channels=2),
)
SWAPPED = {
    "4 codebooks, but .* has 3": replace(debug.codec_config(), rvq=replace(debug.codec_config().rvq, n_q=3)),
    "400 codes per codebook, but .* has 300": replace(
        debug.codec_config(), rvq=replace(debug.codec_config().rvq, bins=300)
    ),
    "32000 Hz, but .* has 24000": debug.codec_config(24000),
    "1 channels, but .* has 2": STEREO,
    "25 frames per second, but .* has 50": replace(
        debug.codec_config(), seanet=replace(debug.codec_config().seanet, ratios=(10, 8, 8))
    ),
}


@pytest.mark.parametrize("words", SWAPPED)
@pytest.mark.parametrize("plan", [True, False])
def test_another_codec_is_found_out(words: str, plan: bool, tmp_path: Path) -> None:
    """Also where it speaks as many codes, and the language model would play noise, or too fast."""
    lm, config = get_debug_lm_model(), debug.lm_config()
    told = encode(config) if plan else {**encode(config), "compression_model_framerate": 25.0}
    folder = write_model(tmp_path, kind="lm", config=told, tensors=lm.state_dict())
    other_codec(SWAPPED[words], tmp_path / "debug")
    with pytest.raises(CheckpointError, match=f"was trained with a codec of {words}; it is another codec"):
        load_generator(folder)
    other_codec(debug.codec_config(), tmp_path / "debug")
    load_generator(folder)


def test_converted_models_know_their_codec(tmp_path: Path) -> None:
    """Releases do not say how many frames per second their codec has."""
    write_release(tmp_path / "release", whole_lm(SILENT))
    other_codec(debug.codec_config(), tmp_path / "release" / "debug")
    load_generator(tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "ours")
    twice = "25 frames per second, but .* has 50"
    other_codec(SWAPPED[twice], tmp_path / "ours" / "codec")
    with pytest.raises(CheckpointError, match=twice):
        load_generator(tmp_path / "ours")


SILENT = replace(debug.lm_config(), conditioners={}, fuser=FuserConfig())


def whole_lm(config: LMConfig) -> Checkpoint:
    tensors = {name: value.clone() for name, value in build_lm(config).state_dict().items()}
    return Checkpoint(kind="lm", config=encode(config), tensors=tensors, source=Path("debug"))
