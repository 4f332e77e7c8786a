"""Files of diffusion decoders: what `loaders` has under the original's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from audiocraft.checkpoints import sources
from audiocraft.checkpoints.families import kind_called
from audiocraft.checkpoints.read import read_path
from audiocraft.checkpoints.record import Checkpoint
from audiocraft.checkpoints.torch_files import multiband
from audiocraft.checkpoints.torch_files.torchfile import load_torch_file
from audiocraft.config.tree import ConfigTree
from audiocraft.errors import CheckpointError
from audiocraft.models.filling import filled, network_of

Device = torch.device | str


def load_mbd(
    name: Path | str, filename: str | None = None, *, device: Device = "cpu", cache: str | None = None
) -> nn.Module:
    """Return the networks of a diffusion decoder: of the file `filename` of `name`, or of whatever `name` is."""
    path = _diffusion_file(name, filename, cache)
    checkpoint = read_path(path, kind="diffusion")
    if not isinstance(checkpoint, Checkpoint):
        raise CheckpointError(f"{path} only points to {checkpoint.name!r}; load that")
    return filled(network_of(checkpoint), checkpoint).to(device)


def load_diffusion_models(
    file_or_url_or_id: Path | str,
    device: Device = "cpu",
    filename: str | None = None,
    cache_dir: str | None = None,
) -> tuple[list[nn.Module], list[nn.Module], list[ConfigTree]]:
    """Return the networks of a released diffusion decoder, what is done to audio before and after each of them, and
    their configurations."""
    path = _diffusion_file(file_or_url_or_id, filename, cache_dir)
    bands: Any = load_mbd(path, device=device)
    package = load_mbd_ckpt(path)
    trees = [ConfigTree(multiband.config_of_band(band, path)) for band in multiband.bands_of(package, path)]
    return [band.model for band in bands.bands], [band.processor for band in bands.bands], trees


def load_mbd_ckpt(
    file_or_url_or_id: Path | str, filename: str | None = None, cache_dir: str | None = None
) -> dict[Any, Any]:
    """Return what is inside a released file of MultiBandDiffusion; configurations are inert records."""
    path = _diffusion_file(file_or_url_or_id, filename, cache_dir)
    package = load_torch_file(path)
    multiband.bands_of(package, path)
    return dict(package)


def _diffusion_file(name: Path | str, filename: str | None, cache: str | None) -> Path:
    """Return the file `filename` of a folder or of a repository on the hub; without one, whatever `name` is."""
    release_file = kind_called("diffusion").release_file or ""
    if filename is None:
        path = sources.resolve(name, kind="diffusion", cache=cache)
        return path / release_file if (path / release_file).is_file() else path
    return sources.file_of(name, filename)
