"""Run folders seen from outside: the networks they hold, and their export as models."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiocraft.checkpoints.adapters import Adapter, digest_of
from audiocraft.checkpoints.families import of_solver
from audiocraft.checkpoints.files import SIGNATURE, load_weights
from audiocraft.checkpoints.jsonfile import read_json
from audiocraft.checkpoints.write import write_model
from audiocraft.config.decode import encode
from audiocraft.config.diffusion_training import DiffusionSolverConfig
from audiocraft.config.flow_training import JascoSolverConfig
from audiocraft.config.training import (
    AnalysisSolverConfig,
    CompressionSolverConfig,
    EmbedderSolverConfig,
    MusicGenSolverConfig,
    SolverConfig,
)
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models.builders import build_encodec
from audiocraft.models.detectors.detector import Detector
from audiocraft.models.encodec import CompressionModel
from audiocraft.models.loaders import load_compression_model
from audiocraft.modules.lora import adapters_of, base_of
from audiocraft.music.vocabulary import VOCABULARY_FILE
from audiocraft.solvers.calibration import calibrate, fit_domain
from audiocraft.solvers.crops import manifest_folder
from audiocraft.solvers.first_weights import FirstWeights, best_weights
from audiocraft.solvers.pair_cache import load_pairs
from audiocraft.solvers.pairs import PairWindows
from audiocraft.solvers.run_config import CONFIG_FILE, read_config
from audiocraft.solvers.run_folder import run_called
from audiocraft.solvers.trusted_words import trusted_words

CURVE_FILE = "curve.csv"

_log = logging.getLogger(__name__)


def load_codec(name: str, device: torch.device | str = "cpu") -> CompressionModel:
    """Return the codec of a run (its folder, a checkpoint in it, or `//sig/` and its signature), or of any name that
    `get_pretrained` takes, also as `//pretrained/NAME`."""
    folder = run_called(name.removeprefix(SIGNATURE)) if name.startswith(SIGNATURE) else Path(name)
    if folder.suffix == ".th" and (folder.parent / CONFIG_FILE).exists():
        folder = folder.parent
    if not (folder / CONFIG_FILE).exists():
        return load_compression_model(name.removeprefix("//pretrained/"), device=device).eval()
    config = read_config(folder)
    if not isinstance(config, CompressionSolverConfig):
        raise CheckpointError(f"{folder} holds a run of {config.solver}, not of a codec")
    codec = build_encodec(config.network, device=device)
    codec.load_state_dict(load_weights(folder)["state"])
    return codec.eval()


def export(
    run: Path,
    out: Path,
    *,
    codec: str | None = None,
    dtype: str = "float16",
    max_duration: float | None = None,
) -> Path:
    """Return the best weights of a run as a model folder that `get_pretrained` takes, with the curve of the run.

    Args:
        codec: for a language model: what its codec is called where the model will live.
        dtype: what the weights are stored as: float16, bfloat16, float32, or int8 (`write_model`).
        max_duration: for a language model: the seconds that it hears; None: those of a crop.
    """
    config, best = read_config(run), load_weights(run)
    if isinstance(config, DiffusionSolverConfig) and config.filter.use:
        _log.warning(
            "%s makes band %d of %d alone; name the runs of all bands to export a decoder of the whole audio",
            run, config.filter.idx_band, config.filter.count,
        )  # fmt: skip
    network = encode(config.network)  # type: ignore[attr-defined]
    if codec is not None and isinstance(config, MusicGenSolverConfig | JascoSolverConfig):
        network["compression_model_checkpoint"] = codec
    if max_duration is not None and isinstance(config, MusicGenSolverConfig | JascoSolverConfig):
        network["max_duration"] = max_duration
    state = best_weights(run)
    if isinstance(config, AnalysisSolverConfig):
        network, state = _calibrated(config, state)
    if isinstance(config, EmbedderSolverConfig):
        network["thresholds"] = trusted_words(config, state)
    family = of_solver(config.solver)
    folder = write_model(
        out,
        kind=family.kind.name,
        family=family.name,
        config=network,
        tensors=state,
        meta={
            "step": best["step"],
            "metric": best["metric"],
            "metrics": _last_valid(run, best["step"]),
            **_vocabulary(config),
        },
        dtype=dtype,  # type: ignore[arg-type]
    )
    if (run / CURVE_FILE).exists():
        shutil.copyfile(run / CURVE_FILE, folder / CURVE_FILE)
    return folder


def export_bands(runs: Sequence[Path], out: Path, *, dtype: str = "float16") -> Path:
    """Return the best weights of runs of solver `diffusion`, one for each band of the audio, as one decoder.

    Args:
        runs: in any order; together they are all bands that one of them names, each once.

    Raises:
        InvalidInput: a run is of another kind, a band is missing or there twice, or runs were trained for another
            codec, rate or division into bands.
    """
    found: dict[int, tuple[Path, DiffusionSolverConfig]] = {}
    for run in runs:
        config = read_config(run)
        if not isinstance(config, DiffusionSolverConfig) or not config.filter.use:
            raise InvalidInput(
                f"{run} trained no band of a diffusion decoder (solver=diffusion/..., filter.use); other runs are "
                "exported one by one",
                field="run",
            )
        band = config.filter.idx_band
        if band in found:
            raise InvalidInput(
                f"{run} and {found[band][0]} are both band {band}; name one of them", field="run"
            )
        found[band] = run, config
    first, shared = found[min(found)]
    for run, config in found.values():
        for name, theirs, ours in _of_all_bands(shared, config):
            if theirs != ours:
                raise InvalidInput(
                    f"{name} is {ours} in {run} and {theirs} in {first}; bands of one decoder share it",
                    field="run",
                )
    absent = sorted(set(range(shared.filter.count)) - set(found))
    if absent:
        raise InvalidInput(
            f"band {absent[0]} of {shared.filter.count} is missing; train it with filter.idx_band={absent[0]} and "
            "name its run too",
            field="run",
        )
    configs = [encode(found[band][1].network) for band in sorted(found)]
    tensors = {
        f"bands.{band}.{name.removeprefix('bands.0.')}": tensor
        for band in sorted(found)
        for name, tensor in best_weights(found[band][0]).items()
    }
    family = of_solver(shared.solver)
    steps = {str(band): load_weights(found[band][0])["step"] for band in sorted(found)}
    return write_model(
        out,
        kind=family.kind.name,
        family=family.name,
        config={**configs[0], "bands": [band for config in configs for band in config["bands"]]},
        tensors=tensors,
        meta={"steps": steps},
        dtype=dtype,  # type: ignore[arg-type]
    )


def _of_all_bands(
    one: DiffusionSolverConfig, other: DiffusionSolverConfig
) -> Iterator[tuple[str, object, object]]:
    """Yield what bands of one decoder have in common: its name, and what it is in each run."""
    for name in ("sample_rate", "channels", "compression_model_checkpoint", "n_q"):
        yield name, getattr(one, name), getattr(other, name)
    yield "filter.n_bands", one.filter.count, other.filter.count
    yield "filter.cutoffs", one.filter.cutoffs, other.filter.cutoffs


def export_adapter(run: Path, out: Path) -> Path:
    """Return the adapters of a run as one small file, which `BASE+FILE` puts onto its base again.

    Raises:
        CheckpointError: the run trained no adapters, or its base is not the model that it names.
    """
    config = read_config(run)
    if not isinstance(config, MusicGenSolverConfig) or not config.lora.rank or config.continue_from is None:
        raise CheckpointError(
            f"{run} trained no adapters of a base (lora.rank, continue_from): export it as a folder"
        )
    best = load_weights(run)
    digest = digest_of(base_of(best["state"]))
    if digest != digest_of(FirstWeights.find(config.continue_from, solver=config.solver).tensors):
        raise CheckpointError(
            f"{run} has other weights than its base {config.continue_from}, which an adapter alone does not hold: "
            "export it as a folder"
        )
    adapter = Adapter(
        kind=of_solver(config.solver).kind.name,
        base=config.continue_from,
        digest=digest,
        scale=config.lora.used_scale,
        tensors=adapters_of(best["state"]),
        meta={"step": best["step"], "metric": best["metric"], "rank": config.lora.rank},
    )
    return adapter.write(out)


def _vocabulary(config: SolverConfig) -> dict[str, Any]:
    """Return the words that a language model was taught, where the manifest of its main source comes with them."""
    if not isinstance(config, MusicGenSolverConfig | JascoSolverConfig):
        return {}
    folder = manifest_folder(config.datasource, config.datasource.train)
    if not folder.is_dir():
        _log.warning(
            "%s is not here, so the model will not say which words it was taught; export it where it was trained",
            folder,
        )
    path = folder / VOCABULARY_FILE
    return {"vocabulary": read_json(path)} if path.is_file() else {}


def _calibrated(
    config: AnalysisSolverConfig, state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return a detector's configuration with what its scores mean, and its weights with the domain it may judge."""
    detector = Detector(config.network).eval()
    prefix = "discriminators."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    detector.discriminators.load_state_dict(own)
    codec = load_codec(config.compression_model_checkpoint, "cpu")
    train = PairWindows(config, load_pairs(config, codec, "train"))
    valid = PairWindows(config, load_pairs(config, codec, "valid"))
    domain = fit_domain(config, detector, train, valid)
    found = replace(config.network, calibration=calibrate(config, detector, valid), domain=domain)
    return encode(found), detector.state_dict()


def _last_valid(run: Path, step: int) -> dict[str, Any]:
    """Return the validation metrics of a step."""
    try:
        lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    found = [entry for entry in entries if entry["stage"] == "valid" and entry["step"] == step]
    return {k: v for k, v in found[-1].items() if k not in ("step", "stage")} if found else {}
