"""Forgets what was kept long enough: finished jobs, uploads, and files that belong to nothing any more."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path

from audiocraft.server.errors import is_disk_full
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import DATABASE_ERRORS
from audiocraft.server.jobs.records import JobNotFound
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.uploads import UploadStore
from audiocraft.server.security import sandbox

_log = logging.getLogger(__name__)

_PAUSE_SECONDS = 60.0
_ORPHAN_SECONDS = 3600.0


class Janitor(threading.Thread):
    """The janitor tidies up every minute; several processes may do so at once."""

    def __init__(self, store: JobStore, uploads: UploadStore, blobs: BlobStore) -> None:
        super().__init__(name="audiocraft-janitor", daemon=True)
        self._store = store
        self._uploads = uploads
        self._blobs = blobs
        self._ended = threading.Event()
        self._orphans_at = 0.0

    def stop(self) -> None:
        """End after the present step."""
        self._ended.set()
        self.join(timeout=10.0)

    def run(self) -> None:
        """Tidy up every minute until `stop`; errors of the database are logged and survived."""
        while not self._ended.is_set():
            try:
                self.tidy()
            except (*DATABASE_ERRORS, OSError) as error:
                if is_disk_full(error):
                    _log.error("the disk is full: delete pieces to make room (%s)", error)
                else:
                    _log.exception("tidying up failed; trying again later")
            self._ended.wait(_PAUSE_SECONDS)

    def tidy(self) -> int:
        """Forget what is old, once -> the number of jobs that were forgotten."""
        forgotten = 0
        while found := self._store.expire():
            for job in found:
                self._blobs.delete_job(job)
            forgotten += len(found)
        self._uploads.expire()
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + _ORPHAN_SECONDS
            self._drop_orphans()
        return forgotten

    def _drop_orphans(self) -> None:
        """Drop folders without a job, files without an upload, half decoded files: those of processes that died."""
        for job in self._blobs.jobs():
            if self._ended.is_set():
                return
            try:
                if time.time() - self._blobs.folder_of(job).stat().st_mtime > _ORPHAN_SECONDS:
                    self._store.get(job)
            except JobNotFound:
                self._blobs.delete_job(job)
        self._uploads.drop_orphans(seconds=_ORPHAN_SECONDS)
        for folder in Path(tempfile.gettempdir()).glob(f"{sandbox.FOLDER_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _ORPHAN_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
