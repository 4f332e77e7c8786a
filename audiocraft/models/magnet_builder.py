"""The network of a MAGNeT from its configuration."""

from __future__ import annotations

from audiocraft.config.magnet import MagnetConfig
from audiocraft.models.builders import CodecLoader, Device, lm_arguments
from audiocraft.models.lm_magnet import MagnetLMModel
from audiocraft.utils.meta_init import laid_out_on


def build_magnet_lm(
    config: MagnetConfig, *, device: Device = "cpu", load_codec: CodecLoader | None = None
) -> MagnetLMModel:
    """Return an untrained masked model, as `builders.build_lm` builds other ones."""
    own = config.transformer_lm
    known = {
        "span_len": config.masking.span_len,
        "segment_duration": config.max_duration,
        "compression_model_framerate": config.compression_model_framerate or own.compression_model_framerate,
    }
    with laid_out_on(device):
        return MagnetLMModel(**{**lm_arguments(config, device, load_codec), **known}).eval()
