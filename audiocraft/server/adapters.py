"""The adapters that requests may name: files in the folders that the operator gives. A name from a request is looked up
here and never becomes part of a path."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocraft.checkpoints.adapter_header import AdapterHeader
from audiocraft.errors import CheckpointError, ConfigError, InvalidInput

_log = logging.getLogger(__name__)

_FRESH_SECONDS = 10.0
_OF_RUN = "adapter"  # what fine-tuning calls the file; the folder says whose it is


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedAdapter:
    """This record holds a file of adapters that requests may name.

    Args:
        base: the model that it was trained on, as the file calls it.
        bytes: of the file.
    """

    name: str
    base: str
    file: Path
    bytes: int


class AdapterCatalogue:
    """This catalogue holds the adapters in some folders, by name; they are looked for again every few seconds.

    `jazz.safetensors` is called "jazz", and `jazz/adapter.safetensors`, as a run of fine-tuning leaves it, too. Of two
    with one name the first counts.

    Raises:
        ConfigError: a folder does not exist.
    """

    def __init__(self, folders: Sequence[str | Path] = ()) -> None:
        self._folders = tuple(Path(folder).expanduser() for folder in folders)
        for folder in self._folders:
            if not folder.is_dir():
                raise ConfigError(f"there is no folder {folder} with adapters")
        self._lock = threading.Lock()
        self._found: Mapping[str, ServedAdapter] = {}
        self._until = 0.0
        self._headers: dict[tuple[Path, int, int], AdapterHeader | None] = {}

    def all(self) -> Mapping[str, ServedAdapter]:
        """Return all adapters by name."""
        with self._lock:
            if self._folders and time.monotonic() > self._until:
                self._found = self._look()
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._found

    def get(self, name: str) -> ServedAdapter:
        """Return an adapter by name.

        Raises:
            InvalidInput: there is none; it lists the names.
        """
        found = self.all()
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            way_out = (
                "; a request names an adapter and not its place: the operator offers those of a folder with "
                "`audiocraft serve --adapters FOLDER`"
                if "/" in name or "\\" in name
                else ""
            )
            raise InvalidInput(
                f"there is no adapter {name[:200]!r} on this server: {known}{way_out}", field="adapters"
            )
        return found[name]

    def files(self, asked: Sequence[Mapping[str, object]]) -> tuple[tuple[str, float], ...]:
        """Return the files of the adapters that a stored request names, and how strongly each counts."""
        return tuple(
            (str(self.get(str(one["name"])).file), float(str(one.get("strength", 1.0)))) for one in asked
        )

    def _look(self) -> Mapping[str, ServedAdapter]:
        found: dict[str, ServedAdapter] = {}
        for file in self._files():
            name = file.parent.name if file.stem == _OF_RUN else file.stem
            adapter = self._read(name, file)
            if adapter is None:
                continue
            if name in found:
                _log.warning("the adapter %s is not served: %s has the same name", file, found[name].file)
                continue
            found[name] = adapter
        return found

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            yield from sorted(folder.glob("*.safetensors"))
            yield from sorted(folder.glob(f"*/{_OF_RUN}.safetensors"))

    def _read(self, name: str, file: Path) -> ServedAdapter | None:
        """Return what a file is; None for what holds no adapter, or one that is being written."""
        try:
            facts = file.stat()
        except OSError:
            return None
        key = (file, facts.st_mtime_ns, facts.st_size)
        if key not in self._headers:
            self._headers = {old: header for old, header in self._headers.items() if old[0] != file}
            self._headers[key] = _header_of(file)
        header = self._headers[key]
        if header is None:
            return None
        return ServedAdapter(name=name, base=header.base, file=file, bytes=facts.st_size)


def _header_of(file: Path) -> AdapterHeader | None:
    try:
        return AdapterHeader.read(file)
    except CheckpointError:
        return None
