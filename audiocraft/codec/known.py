"""A codec with what a file says of it: its name, the digest of its weights, and how likely its codes are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from audiocraft.checkpoints import sources
from audiocraft.checkpoints.digest import weights_digest
from audiocraft.codec.container import AcxHeader
from audiocraft.codec.entropy import EntropyTables, tables_of_model
from audiocraft.codec.streams import layout_of, network_of
from audiocraft.errors import CheckpointError, InvalidInput
from audiocraft.models.codecs.encodec import CompressionModel

# Seconds of a block: what a damaged byte can take away, and what a seek reads at most twice.
BLOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class KnownCodec:
    """This record holds a loaded codec with its name, its digest and its entropy tables.

    Args:
        name: by which it is found again.
        digest: SHA-256 over its weights.
        tables: how likely its codes are; None where nobody has measured it.
    """

    name: str
    codec: CompressionModel
    digest: bytes
    tables: EntropyTables | None = None

    @classmethod
    def load(cls, name: str | Path, *, device: torch.device | str = "cpu") -> KnownCodec:
        """Return the codec called `name`, or that of the model that is called so."""
        return cls.of(CompressionModel.get_pretrained(str(name), device=device), name)

    @classmethod
    def of(cls, codec: CompressionModel, name: str | Path) -> KnownCodec:
        """Return a codec that is loaded already."""
        digest = bytes.fromhex(weights_digest(network_of(codec)))
        place = sources.local(name, kind="compression")
        tables = None
        if place is not None:
            tables = tables_of_model(place if place.is_dir() else place.parent, digest)
        return cls(_portable(name), codec, digest, tables)

    def header(
        self, sample_rate: int, channels: int, samples: int | None, *, codebooks: int | None = None
    ) -> AcxHeader:
        """Make the header of a file of audio with these properties."""
        codec, layout = self.codec, layout_of(self.codec)
        most = codec.total_codebooks
        if codebooks is not None and not 1 <= codebooks <= most:
            raise InvalidInput(
                f"codec {self.name} has 1 to {most} codebooks, not {codebooks}", field="codebooks"
            )
        units = BLOCK_SECONDS * codec.sample_rate / layout.unit_samples
        per_frame = -(-channels // codec.channels) * most
        units = min(units, 60000 / layout.unit_frames, (1 << 21) / (per_frame * layout.unit_frames))
        return AcxHeader(
            model=self.name, model_digest=self.digest, channels=channels, source_rate=sample_rate,
            samples=samples, codec_rate=codec.sample_rate, codec_channels=codec.channels,
            cardinality=codec.cardinality, codebooks=codebooks or most, unit_frames=layout.unit_frames,
            unit_samples=layout.unit_samples, chunk_samples=layout.chunk_samples,
            block_frames=max(1, int(units)) * layout.unit_frames,
        )  # fmt: skip

    def check(self, header: AcxHeader) -> None:
        """Raise where a file was made by another codec, whose codes would be noise here."""
        if header.model_digest != self.digest:
            raise InvalidInput(
                f"the file was made with {header.model!r} of digest {header.model_digest.hex()[:16]}, and "
                f"{self.name!r} has {self.digest.hex()[:16]}: other weights make noise of its codes. Name the codec "
                "that it was made with",
                field="model",
            )
        mine = self.header(header.source_rate, header.channels, header.samples, codebooks=None)
        for what in (
            "codec_rate",
            "codec_channels",
            "cardinality",
            "unit_frames",
            "unit_samples",
            "chunk_samples",
        ):
            if getattr(header, what) != getattr(mine, what):
                raise InvalidInput(
                    f"the file says {getattr(header, what)} for {what.replace('_', ' ')}, and codec {self.name!r} "
                    f"has {getattr(mine, what)}",
                    field="model",
                )
        if header.codebooks > self.codec.total_codebooks:
            raise InvalidInput(
                f"the file says {header.codebooks} codebooks, and codec {self.name!r} has "
                f"{self.codec.total_codebooks}",
                field="model",
            )


def codec_of(codec: KnownCodec | str | os.PathLike[str]) -> KnownCodec:
    """Return a codec that is named, or loaded already; what is neither raises InvalidInput."""
    if isinstance(codec, KnownCodec):
        return codec
    if not isinstance(codec, str | os.PathLike):
        raise InvalidInput(
            "codec must be a name, a folder, a file or a KnownCodec (KnownCodec.of makes one of a loaded model), "
            f"got a {type(codec).__name__}",
            field="codec",
        )
    return KnownCodec.load(os.fspath(codec))


def codec_named_in(header: AcxHeader, *, device: torch.device | str = "cpu") -> KnownCodec:
    """Return the codec that a file names. A file may come from a stranger: nothing is fetched, and no path is
    followed."""
    name = header.model
    path_like = name.startswith((".", "/", "~", "\\")) or ".." in name or ":" in name or "\\" in name
    if path_like or name.count("/") > 1 or not _is_here(name):
        raise InvalidInput(
            f"the file was made with codec {name!r}, which is not on this machine by that name; "
            "name its files (--model), or fetch it with `audiocraft models pull`",
            field="model",
        )
    known = KnownCodec.load(name, device=device)
    known.check(header)
    return known


def _is_here(name: str) -> bool:
    if Path(name).exists() and name not in sources.bundled():
        return False  # a folder that happens to be called so
    try:
        return name == "debug" or sources.local(name, kind="compression") is not None
    except (CheckpointError, OSError, ValueError):
        return False


def _portable(name: str | Path) -> str:
    """Return what a file calls its codec: a name as it is, of a path the last part."""
    text = str(name)
    is_path = text.startswith((".", "/", "~")) or Path(text).exists()
    called = Path(text).name if is_path else text
    return called.encode("utf-8")[:1024].decode("utf-8", errors="ignore")
