"""Files inside zip archives, with the archives kept open: opening one with many members is slow."""

from __future__ import annotations

import os
import threading
import zipfile
from collections import OrderedDict
from typing import IO, Literal

from audiocraft.errors import InvalidInput
from audiocraft.types import PathInZip

__all__ = ["DEFAULT_SIZE", "MODE", "PathInZip", "open_file_in_zip", "set_zip_cache_size"]

DEFAULT_SIZE = 32
MODE = Literal["r", "w", "x", "a"]


class _OpenArchives:
    """This object holds the most recently used archives. A forked process shares file positions with its parent, so it
    opens its own."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._archives: OrderedDict[tuple[int, str], zipfile.ZipFile] = OrderedDict()

    def resize(self, size: int) -> None:
        with self._lock:
            self._size = size
            self._trim()

    def get(self, path: str) -> zipfile.ZipFile:
        key = (os.getpid(), path)
        with self._lock:
            archive = self._archives.get(key)
            if archive is None:
                archive = self._archives[key] = zipfile.ZipFile(path)
            self._archives.move_to_end(key)
            self._trim(keep=1)
            return archive

    def _trim(self, keep: int = 0) -> None:
        # Dropped, not closed: a caller may still be reading a member, and the last reference closes the file.
        while len(self._archives) > max(self._size, keep):
            self._archives.popitem(last=False)


_ARCHIVES = _OpenArchives(DEFAULT_SIZE)


def set_zip_cache_size(max_size: int) -> None:
    """Set how many archives stay open."""
    if max_size < 0:
        raise InvalidInput(
            f"the number of open archives cannot be negative, got {max_size}", field="max_size"
        )
    _ARCHIVES.resize(max_size)


def open_file_in_zip(path_in_zip: PathInZip, mode: str = "r") -> IO[bytes]:
    """Open a member of an archive for reading bytes."""
    if mode != "r":
        raise InvalidInput(
            f"members of an archive are only read here, not opened with mode {mode!r}", field="mode"
        )
    try:
        return _ARCHIVES.get(path_in_zip.zip_path).open(path_in_zip.file_path)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise InvalidInput(f"cannot read {path_in_zip}: {error}", field="path_in_zip") from error
