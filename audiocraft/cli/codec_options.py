"""The arguments and options of `audiocraft codec`, and what their texts mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiocraft.cli.completion import models as models_beginning
from audiocraft.cli.named_folder import NamedFolder
from audiocraft.cli.targets import unnamed
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.codec.files import EncodeSettings
    from audiocraft.codec.rate import Rate

STDIO = Path("-")
_RATE = "How large"

Source = Annotated[Path, typer.Argument(metavar="AUDIO", help="An audio file; - is standard input.")]
AcxSource = Annotated[Path, typer.Argument(metavar="FILE", help="An .acx file; - is standard input.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|DIR",
        help="Where it goes; - is standard output; default: beside the source.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="The codec: a name (see `audiocraft models`), a folder or a file.",
        autocompletion=models_beginning,
    ),
]  # fmt: skip
ModelOfFile = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="The codec; default: the one that the file names.",
        autocompletion=models_beginning,
    ),
]
Codebooks = Annotated[
    int | None, typer.Option(help="Codebooks of every block; fewer take less room.", rich_help_panel=_RATE)
]
Bitrate = Annotated[
    float | None,
    typer.Option(metavar="KBPS", help="At most so many kb/s, the whole file counted.", rich_help_panel=_RATE),
]
Quality = Annotated[
    float | None,
    typer.Option(metavar="0-10", help="Tenths of what all codebooks gain over one.", rich_help_panel=_RATE),
]
TargetMel = Annotated[
    str | None,
    typer.Option(
        metavar="DB",
        help="The fewest codebooks within this log-mel distance, as in 4dB.",
        rich_help_panel=_RATE,
    ),
]
Mono = Annotated[bool, typer.Option("--mono", help="Mix all channels down to one first.")]
Profile = Annotated[
    str, typer.Option(help="Entropy coding: packed, static or context; the last is smallest and slowest.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail at damage instead of passing over it.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class RateOptions:
    """These options say how large a file becomes."""

    codebooks: Codebooks = None
    bitrate: Bitrate = None
    quality: Quality = None
    size: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="At most so large, as in 500kB, 1MB, 1MiB.", rich_help_panel=_RATE
        ),
    ] = None
    target_mel: TargetMel = None

    def rate(self) -> Rate:
        """Return them as a rate, which checks them."""
        from audiocraft.codec.rate import Rate

        return Rate(
            codebooks=self.codebooks,
            bitrate=self.bitrate,
            quality=self.quality,
            size=None if self.size is None else bytes_of(self.size),
            target_mel=None if self.target_mel is None else decibels_of(self.target_mel),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentOptions:
    """These options say what a file holds, and how that is packed."""

    mono: Mono = False
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A tag, such as title=...; may be repeated.")
    ] = None
    cover: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="A PNG, JPEG or WebP to keep in it.")
    ] = None
    profile: Profile = "context"

    def settings(self, model: str, rate: Rate) -> EncodeSettings:
        """Return the settings with which a codec encodes it, as large as `rate` says."""
        from audiocraft.codec.files import EncodeSettings
        from audiocraft.codec.writer import Notes

        return EncodeSettings(
            codec=model,
            rate=rate,
            channels=1 if self.mono else None,
            notes=Notes(tags_of(self.tag), None if self.cover is None else self.cover.read_bytes()),
            profile=profile_of(self.profile),
        )


_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 10**6, "gb": 10**9, "kib": 1024, "mib": 1 << 20, "gib": 1 << 30}


def bytes_of(text: str) -> int:
    """Read --size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS:
        raise InvalidInput(f"--size {text!r} is not written like 500kB, 1MB or 1MiB", field="size")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def decibels_of(text: str) -> float:
    """Read --target-mel."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:dB)?\s*", text, re.IGNORECASE)
    if found is None:
        raise InvalidInput(f"--target-mel {text!r} is not written like 4dB", field="target_mel")
    return float(found[1])


def profile_of(name: str) -> int:
    """Read --profile."""
    from audiocraft.codec.entropy import PROFILES

    if name not in PROFILES:
        raise InvalidInput(f"profile {name!r} is not a choice; one of {', '.join(PROFILES)}", field="profile")
    return PROFILES.index(name)


def tags_of(entries: list[str] | None) -> dict[str, str]:
    """Read --tag."""
    found = {}
    for entry in entries or []:
        name, sign, text = entry.partition("=")
        if not sign or not name.strip():
            raise InvalidInput(f"--tag {entry!r} is not written like title=Some words", field="tag")
        found[name.strip()] = text
    return found


def target_of(source: Path, output: Path | None, suffix: str, *others: Path | None) -> Path:
    """Return where what is made of `source` goes: never over that, or the other files that are read, and over another
    file only where `output` names it."""
    from audiocraft.utils.files import check_apart

    if source != STDIO:
        check_is_file(source, batch=suffix == ".acx")
    if output is None:
        target = STDIO if source == STDIO else unnamed(source.with_suffix(suffix))
    elif not (isinstance(output, NamedFolder) or output.is_dir()):
        target = output
    elif source == STDIO:
        raise InvalidInput(
            f"{output} is a folder, and standard input has no name for a file in it; name one, like "
            f"{output / f'audio{suffix}'}",
            field="output",
        )
    else:
        target = unnamed(output / (source.stem + suffix))
    if target != STDIO:
        check_apart([target], [source, *others])
    return target


def check_is_file(source: Path, *, batch: bool = False) -> None:
    """Refuse what is not there, and folders; `batch` says that another command takes those."""
    if source.is_dir():
        way = f"; `audiocraft codec batch {source}` compresses those in it" if batch else "; name a file"
        raise InvalidInput(f"{source} is a folder, not a file{way}", field="source")
    if not source.exists():
        raise InvalidInput(f"{source} does not exist", field="source")
