"""Parts of diffusion decoders from their configurations; `builders` has the original's names for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from audiocraft.config.decode import decode
from audiocraft.config.diffusion import BandConfig, ProcessorConfig, unet_arguments
from audiocraft.models.unet import DiffusionUnet
from audiocraft.modules.diffusion_schedule import MultiBandProcessor, SampleProcessor


def get_diffusion_model(cfg: Mapping[str, Any]) -> DiffusionUnet:
    """Return the network of a diffusion decoder's band; `cfg` is a whole training configuration."""
    tree = _plain(cfg)
    return DiffusionUnet(**unet_arguments(BandConfig.of_run(tree), int(tree["channels"])))


def get_processor(cfg: Mapping[str, Any], sample_rate: int = 24000) -> SampleProcessor:
    """Return what is done to audio before and after such a network; `cfg` is the section `processor`."""
    return build_processor(decode(ProcessorConfig, _plain(cfg), where="processor"), sample_rate)


def build_processor(config: ProcessorConfig, sample_rate: int) -> SampleProcessor:
    """Return a processor that has heard nothing yet. It computes its filters, so that it is on the CPU, not on
    "meta"."""
    if not config.use:
        return SampleProcessor()
    with torch.device("cpu"):
        return MultiBandProcessor(
            n_bands=config.n_bands,
            sample_rate=sample_rate,
            num_samples=config.num_samples,
            power_std=config.power_std,
        )


def _plain(cfg: Any) -> Any:
    """Return `cfg` as nested dicts and lists; objects that only look like mappings are converted here, at once."""
    if hasattr(cfg, "items"):
        return {str(key): _plain(value) for key, value in cfg.items()}
    if isinstance(cfg, str | int | float) or cfg is None:
        return cfg
    return [_plain(value) for value in cfg]
