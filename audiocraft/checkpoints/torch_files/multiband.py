"""The files of MultiBandDiffusion (`mbd_*.th`): a network, its configuration and the loudness of its bands for each of
the numbers 0, 1, ... up to `n_bands`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import julius
from torch import Tensor

from audiocraft.checkpoints.torch_files.pickle_stubs import plain
from audiocraft.config.decode import encode
from audiocraft.config.diffusion import BandConfig, DiffusionUnetConfig
from audiocraft.errors import CheckpointError, ConfigError

_SUMS = ("counts", "sum_x", "sum_x2", "sum_target_x2")
_FILTERS = "split_bands.lowpass.filters"


def bands_of(package: Mapping[Any, Any], source: Path) -> list[Mapping[str, Any]]:
    """Return the entries of the bands, in order."""
    count = package.get("n_bands")
    if not isinstance(count, int) or not 1 <= count <= 64 or "sample_rate" not in package:
        raise CheckpointError(f"{source} says neither how many bands it has nor their sample rate")
    found = [package.get(number, package.get(str(number))) for number in range(count)]
    for number, band in enumerate(found):
        if not isinstance(band, Mapping) or not {"cfg", "model_state"} <= band.keys():
            raise CheckpointError(f"{source} has {count} bands, but the network of band {number} is missing")
    return found


def config_of_band(band: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Read the training configuration of one band as nested dicts."""
    tree = plain(band["cfg"])
    if not isinstance(tree, dict):
        raise CheckpointError(f"{source}: the configuration of a band is not a mapping")
    return tree


def read_multiband(package: Mapping[Any, Any], source: Path) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Read the configuration tree of such a file, and its tensors: `bands.0.model.*`, `bands.0.processor.*`, ..."""
    tensors: dict[str, Tensor] = {}
    entries, n_q = [], None
    for number, band in enumerate(bands_of(package, source)):
        tree = config_of_band(band, source)
        try:
            config = BandConfig.of_run(tree)
        except ConfigError as error:
            raise CheckpointError(f"{source}: band {number}: {error}") from error
        entries.append(encode(config))
        n_q = tree.get("n_q", n_q)
        tensors |= {f"bands.{number}.model.{name}": value for name, value in band["model_state"].items()}
        if not config.processor.use:
            continue
        state = band.get("processor_state") or {}
        missing = [name for name in _SUMS if name not in state]
        if missing:
            raise CheckpointError(f"{source}: band {number} does not say how loud it is ({missing[0]})")
        # The filters follow from the configuration, and only some files hold them.
        filters = julius.SplitBands(package["sample_rate"], n_bands=config.processor.n_bands).lowpass.filters
        state = {_FILTERS: filters, **state}
        tensors |= {f"bands.{number}.processor.{name}": value for name, value in state.items()}
    tree = {"sample_rate": package["sample_rate"], "bands": entries}
    return {**tree, "n_q": n_q} if isinstance(n_q, int) else tree, tensors


_OF_NETWORK = {
    "hidden", "depth", "res_blocks", "norm_groups", "kernel", "stride", "growth", "max_channels", "dropout",
    "emb_all_layers", "bilstm", "codec_dim", "transformer", "cross_attention",
}  # fmt: skip
"""What the original's networks can be told; the rest is ours."""


def package_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[Any, Any]:
    """Return what such a file holds of a decoder with this configuration and these tensors: `read_multiband`
    backwards."""
    usual = encode(DiffusionUnetConfig())
    package: dict[Any, Any] = {"sample_rate": config["sample_rate"], "n_bands": len(config["bands"])}
    shared = {
        name: config[name] for name in ("sample_rate", "channels", "n_q") if config.get(name) is not None
    }
    for number, band in enumerate(config["bands"]):
        told = band["diffusion_unet"]
        network = {key: value for key, value in told.items() if key in _OF_NETWORK}
        ours = sorted(key for key in told.keys() - _OF_NETWORK if told[key] != usual.get(key))
        if ours:
            raise CheckpointError(
                f"the original cannot build this diffusion decoder: its network has no {', '.join(ours)}; "
                "write it in another format"
            )
        entry: dict[str, Any] = {"cfg": _as_omegaconf({**shared, **band, "diffusion_unet": network})}
        for part in ("model", "processor"):
            start = f"bands.{number}.{part}."
            entry[f"{part}_state"] = {
                name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
            }
        package[number] = entry
    return package


def _as_omegaconf(tree: dict[str, Any]) -> Any:
    """Return the form in which the original looks at a configuration, where its package is here; plain otherwise,
    which is read here as well."""
    try:
        omegaconf = importlib.import_module("omegaconf")
    except ImportError:
        return tree
    return omegaconf.OmegaConf.create(tree)
