"""Codes of many files in one, for those who train on them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiocraft.audio.files import audio_info, audio_pieces
from audiocraft.codec.acx_file import AcxFile
from audiocraft.codec.coding import Encoder
from audiocraft.codec.container import MAGIC
from audiocraft.codec.known import KnownCodec
from audiocraft.errors import InvalidInput
from audiocraft.utils.files import atomic_path, check_apart, make_folder_of

TokenArray = npt.NDArray[np.uint16]
Write = Callable[[Path, TokenArray], None]


def codes_of_file(path: Path, known: KnownCodec, codebooks: int | None = None) -> TokenArray:
    """Return the codes [streams, codebooks, frames] of an audio file, or of an .acx file of the same codec. Blocks
    of an .acx file with different numbers of codebooks, and damaged ones, are refused: there is no code for what
    is not there."""
    if _is_acx(path):
        with AcxFile(path, known, strict=True) as file:
            parts = [file.block(number) for number in range(file.blocks)]
            found = [part.codes[:, :codebooks].numpy() for part in parts if part is not None]
        if len({part.shape[1] for part in found}) > 1:
            raise InvalidInput(
                f"{path}: its blocks have different numbers of codebooks; choose at most "
                f"{min(part.shape[1] for part in found)} (--codebooks)",
                field="codebooks",
            )
    else:
        info = audio_info(path)
        encoder = Encoder(known.codec, info.sample_rate, info.channels, codebooks=codebooks)
        pieces = [encoder.push(wav).codes.cpu().numpy() for wav, _ in audio_pieces(path, 1.0)]
        found = [*pieces, encoder.finish().codes.cpu().numpy()]
    if not found:
        return np.zeros((1, codebooks or known.codec.total_codebooks, 0), dtype=np.uint16)
    return np.concatenate(found, axis=-1).astype(np.uint16)


def _is_acx(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def token_writer(target: Path) -> Iterator[Write]:
    """Yield what writes the codes of one file after another into `target`: .npz, .safetensors, or .tar as WebDataset
    has it. Only .safetensors keeps all of them in memory."""
    suffix = target.suffix.lower()
    if suffix not in (".npz", ".safetensors", ".tar"):
        raise InvalidInput(f"tokens go into .npz, .safetensors or .tar, not {str(target)!r}", field="output")
    names: set[str] = set()

    def named(path: Path) -> str:
        check_apart([target], [path])
        name, number = path.stem.replace(".", "_"), 2
        while name in names:
            name, number = f"{path.stem.replace('.', '_')}-{number}", number + 1
        names.add(name)
        return name

    make_folder_of(target)
    with atomic_path(target) as temporary:
        if suffix == ".safetensors":
            from safetensors.numpy import save_file

            kept: dict[str, TokenArray] = {}
            yield lambda path, codes: kept.__setitem__(named(path), codes)
            save_file(kept, temporary)
        elif suffix == ".npz":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                yield lambda path, codes: archive.writestr(f"{named(path)}.npy", _npy(codes))
        else:
            with tarfile.open(temporary, "w") as tar:
                yield lambda path, codes: _add_sample(tar, named(path), path, codes)


def _npy(codes: TokenArray) -> bytes:
    memory = io.BytesIO()
    np.save(memory, codes, allow_pickle=False)
    return memory.getvalue()


def _add_sample(tar: tarfile.TarFile, name: str, path: Path, codes: TokenArray) -> None:
    about = {"source": path.name, "shape": list(codes.shape)}
    for suffix, content in (("npy", _npy(codes)), ("json", json.dumps(about).encode("utf-8"))):
        entry = tarfile.TarInfo(f"{name}.{suffix}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
