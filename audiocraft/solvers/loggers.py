"""Where a run's metrics and samples go beside its own files: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from audiocraft.audio.files import audio_read
from audiocraft.config.decode import encode
from audiocraft.config.training import SolverConfig
from audiocraft.errors import require


class RunLogger(Protocol):
    """A logger is one place that is told about a run."""

    def log_metrics(self, stage: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def log_samples(self, step: int, folder: Path) -> None: ...

    def close(self) -> None: ...


class TensorboardLogger:
    """This logger writes event files that `tensorboard --logdir` shows."""

    def __init__(self, config: SolverConfig, folder: Path) -> None:
        board = require("torch.utils.tensorboard", extra="tensorboard")
        settings = config.tensorboard
        self.media = settings.with_media_logging
        target = folder / (settings.sub_dir or "tensorboard") / (settings.name or "")
        self.writer: Any = board.SummaryWriter(str(target))

    def log_metrics(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(f"{stage}/{name}", value, step)

    def log_samples(self, step: int, folder: Path) -> None:
        for path in _audio_files(folder) if self.media else []:
            wav, rate = audio_read(path)
            self.writer.add_audio(f"samples/{path.stem}", wav.mean(dim=0, keepdim=True), step, rate)

    def close(self) -> None:
        self.writer.close()


class WandbLogger:
    """This logger keeps a run at Weights & Biases, the same one when the folder's run is resumed."""

    def __init__(self, config: SolverConfig, folder: Path) -> None:
        wandb = require("wandb", extra="wandb")
        settings = config.wandb
        self.media = settings.with_media_logging
        folder.mkdir(parents=True, exist_ok=True)
        self._audio = wandb.Audio
        self.run: Any = wandb.init(
            project=settings.project,
            name=settings.name or config.label or folder.name,
            group=settings.group,
            dir=str(folder),
            config=encode(config),
            id=_mark(folder),
            resume="allow",
        )

    def log_metrics(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log({f"{stage}/{name}": value for name, value in metrics.items()}, step=step)

    def log_samples(self, step: int, folder: Path) -> None:
        if self.media:
            files = {f"samples/{path.stem}": self._audio(str(path)) for path in _audio_files(folder)}
            self.run.log(files, step=step)

    def close(self) -> None:
        self.run.finish()


class MlflowLogger:
    """This logger keeps a run of MLflow, the same one when the folder's run is resumed. Samples are artifacts, a folder
    for each step."""

    def __init__(self, config: SolverConfig, folder: Path) -> None:
        mlflow = require("mlflow", extra="mlflow")
        settings = config.mlflow
        self.media = settings.with_media_logging
        self.client: Any = mlflow.MlflowClient(settings.uri)
        found = self.client.get_experiment_by_name(settings.project)
        experiment = found.experiment_id if found else self.client.create_experiment(settings.project)
        mark = _mark(folder)
        known = self.client.search_runs([experiment], f"tags.audiocraft = '{mark}'", max_results=1)
        if known:
            self.run: str = known[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        name = settings.name or config.label or folder.name
        self.run = self.client.create_run(experiment, tags={"audiocraft": mark}, run_name=name).info.run_id
        self.client.log_dict(self.run, encode(config), "run.json")

    def log_metrics(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.run, f"{stage}/{name}", value, step=step)

    def log_samples(self, step: int, folder: Path) -> None:
        for path in _audio_files(folder) if self.media else []:
            self.client.log_artifact(self.run, str(path), f"samples/step_{step:06d}")

    def close(self) -> None:
        self.client.set_terminated(self.run)


def build_loggers(config: SolverConfig, folder: Path) -> list[RunLogger]:
    """Return those that the configuration asks for."""
    loggers: list[RunLogger] = []
    if config.logging.log_tensorboard:
        loggers.append(TensorboardLogger(config, folder))
    if config.logging.log_wandb:
        loggers.append(WandbLogger(config, folder))
    if config.logging.log_mlflow:
        loggers.append(MlflowLogger(config, folder))
    return loggers


def _mark(folder: Path) -> str:
    """Return the mark by which the run of a folder is found again."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in (".wav", ".mp3", ".flac", ".ogg"))
