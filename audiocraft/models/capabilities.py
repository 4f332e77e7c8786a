"""What a model can be asked for, as far as its configuration or its name tells before its weights are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audiocraft.checkpoints.installed_models import header_of
from audiocraft.checkpoints.sources import ALIASES, BUNDLED_ALIASES, bundled, cache_dir
from audiocraft.config.conditioning import ChromaStemConfig, StyleConfig
from audiocraft.config.networks import LMConfig
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.models import debug
from audiocraft.models.audiogen import AudioGen
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.musicgen import MusicGen
from audiocraft.models.references import REFERENCE, listener, takes_style
from audiocraft.models.token_model import TokenModel

Role = Literal["melody", "style"]
"""What a model hears in the audio that it is referred to."""

_WAY_OUT: dict[Role, str] = {
    "melody": "models that follow one are facebook/musicgen-melody and facebook/musicgen-stereo-melody",
    "style": "facebook/musicgen-style imitates one",
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """Whether a model refers to audio, and what it hears in it; None: it is told by text alone."""

    hears: Role | None = None

    def check(self, name: str, role: Role) -> None:
        """Refuse a reference that the model would not hear as `role`."""
        if self.hears == role:
            return
        other = f" but a {self.hears}" if self.hears is not None else ""
        raise InvalidInput(f"model {name!r} takes no {role}{other}; {_WAY_OUT[role]}", field=role)


def abilities_of(config: LMConfig) -> Abilities:
    """Those of a model with this configuration."""
    found = config.conditioners.get(REFERENCE)
    if isinstance(found, ChromaStemConfig):
        return Abilities("melody")
    return Abilities("style" if isinstance(found, StyleConfig) else None)


def abilities_of_model(model: GeneratorModel) -> Abilities:
    """Those of a model that is loaded."""
    if not isinstance(model, TokenModel) or listener(model.lm) is None:
        return Abilities()
    return Abilities("style" if takes_style(model.lm) else "melody")


def foreseen(name: str) -> Abilities | None:
    """Those of the model called `name` without reading or fetching its weights; None where only they can tell."""
    if name == debug.NAME:
        return Abilities()
    official = re.fullmatch(r"facebook/(?:musicgen|audiogen)-([\w-]+)", ALIASES.get(("lm", name), name))
    if official is not None:
        size = official[1]
        return Abilities("melody" if "melody" in size else "style" if size == "style" else None)
    text = BUNDLED_ALIASES.get(("lm", name), name)
    for folder in (bundled().get(text), Path(text).expanduser(), cache_dir() / text):
        if folder is not None and folder.is_dir():
            return _in_folder(folder)
    return None


def facade(name: str) -> type[GeneratorModel]:
    """The class that loads and runs the model called `name`."""
    return AudioGen if "audiogen" in name.rstrip("/").rpartition("/")[2] else MusicGen


def _in_folder(folder: Path) -> Abilities | None:
    header = header_of(folder)
    if "model_type" in header:
        return Abilities("melody" if header["model_type"] == "musicgen_melody" else None)
    try:
        return abilities_of(LMConfig.select(header["config"])) if "config" in header else None
    except (ConfigError, TypeError):  # loading it will say what is wrong
        return None
