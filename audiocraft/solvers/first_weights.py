"""The weights that a run begins with: of another run, a bundled or released model, any file that is read here."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from audiocraft.checkpoints.families import of_solver
from audiocraft.checkpoints.files import SIGNATURE, checkpoint_name, load_checkpoint, load_weights
from audiocraft.checkpoints.read import read
from audiocraft.config.training import MusicGenSolverConfig
from audiocraft.errors import CheckpointError, ConfigError
from audiocraft.models.filling import with_shapes
from audiocraft.modules.lora import merged, plain_name
from audiocraft.optim.sharding import spread
from audiocraft.solvers.run_config import CONFIG_FILE, read_config
from audiocraft.solvers.run_folder import not_finite, run_called

logger = logging.getLogger(__name__)

PRETRAINED = "//pretrained/"
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """This record holds weights to begin with.

    Args:
        source: where they are from, for people.
        tensors: by the names of the network's state dict.
    """

    source: str
    tensors: Mapping[str, Tensor]

    @classmethod
    def find(cls, name: str, *, solver: str) -> FirstWeights:
        """Return the weights called `name`, for a run of `solver`.

        Args:
            name: the folder of a run, one of its checkpoints, or `//sig/` and its signature; the name of a bundled or
                released model, with or without `//pretrained/`; an exported folder, a released file, a folder of
                `transformers`.

        Raises:
            CheckpointError: there is no such thing, or it cannot be read.
        """
        if name.startswith(SIGNATURE):
            return cls._of_run(run_called(name.removeprefix(SIGNATURE)))
        path = Path(name)
        if (path / CONFIG_FILE).is_file():
            return cls._of_run(path)
        if path.suffix == ".th" and path.is_file() and (path.parent / CONFIG_FILE).is_file():
            return cls._of_checkpoint(path)
        wanted = name.removeprefix(PRETRAINED)
        try:
            checkpoint = with_shapes(read(wanted, kind=of_solver(solver).kind.name, dtype=torch.float32))
        except CheckpointError as error:
            raise CheckpointError(f"continue_from={name}: {error}") from error
        return cls(str(checkpoint.source), checkpoint.tensors)

    @classmethod
    def _of_run(cls, run: Path) -> FirstWeights:
        return cls(str(run), best_weights(run))

    @classmethod
    def _of_checkpoint(cls, path: Path) -> FirstWeights:
        """Return the weights of one checkpoint of a run: the best ones, or those of a certain moment."""
        if path.name == checkpoint_name("best"):
            return cls._of_run(path.parent)
        state = load_checkpoint(path)
        if "model" not in state:
            raise CheckpointError(
                f"continue_from={path}: no weights were kept in it, only {', '.join(state)}"
            )
        return cls(str(path), _merged(path.parent, state["model"]))

    def put_into(self, model: nn.Module) -> None:
        """Copy the weights into `model`. What is new in it keeps the values it was built with, and what it has no use
        for is left out; both are said.

        Raises:
            ConfigError: a weight has another shape here and there, or hardly any has the same name.
        """
        # The adapters of a network begin as they were built: only its base has weights to take over.
        own = {
            plain: (name, value)
            for name, value in model.state_dict().items()
            if (plain := plain_name(name)) is not None
        }
        common = [name for name in own if name in self.tensors]
        if not common:
            raise ConfigError(
                f"continue_from: {self.source} and this run's network have no weight in common; it is another network"
            )
        wrong = [name for name in common if own[name][1].shape != self.tensors[name].shape]
        if wrong:
            shapes = [
                f"{name} {list(self.tensors[name].shape)} not {list(own[name][1].shape)}" for name in wrong
            ]
            raise ConfigError(
                f"continue_from: {self.source} does not fit this run's network: {_listed(shapes)}. Give the settings "
                "that it was trained with"
            )
        broken = not_finite(self.tensors)
        if broken:
            raise CheckpointError(
                f"continue_from: in {self.source} {broken[0]} holds values that are no numbers"
            )
        taken = {own[name][0]: self.tensors[name] for name in common}
        model.load_state_dict(spread(taken, model.state_dict()), strict=False)
        logger.info("starting from the weights of %s", self.source)
        self._say_the_rest(own.keys())

    def _say_the_rest(self, own: Collection[str]) -> None:
        fresh = [name for name in own if name not in self.tensors]
        unused = [name for name in self.tensors if name not in own]
        if fresh:
            logger.warning("new in this run, and trained from nothing: %s", _listed(_modules(fresh)))
        if unused:
            logger.warning("of %s this run has no use for: %s", self.source, _listed(_modules(unused)))


def best_weights(run: Path) -> Mapping[str, Tensor]:
    """Return the best weights of a run, those of its adapters merged into the matrices that they belong to."""
    return _merged(run, load_weights(run)["state"])


def _merged(run: Path, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    config = read_config(run)
    if not isinstance(config, MusicGenSolverConfig) or not config.lora.rank:
        return state
    return merged(state, config.lora.used_scale)


def _modules(names: Collection[str]) -> list[str]:
    """Return the modules that weights belong to, once each."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_MOST_NAMED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
