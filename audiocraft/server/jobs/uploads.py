"""Audio that was sent: who sent it, what it is, how long it stays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, func, insert, select, update

from audiocraft.config.serving import UploadLimits
from audiocraft.errors import InvalidInput
from audiocraft.server.errors import NotFound
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.records import QuotaExceeded, is_id, new_id
from audiocraft.server.jobs.tables import uploads

INLINE = "(inline)"
"""The name of audio that came inside a request; files cannot be called so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRecord:
    """This record describes a file that was decoded and kept; `kind` is the format in which it was sent."""

    id: str
    owner: str
    name: str
    kind: str
    sha256: str
    sample_rate: int
    channels: int
    samples: int
    created_at: float
    used_at: float | None = None

    @property
    def seconds(self) -> float:
        """Return how many seconds it lasts."""
        return self.samples / self.sample_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedUpload:
    """This record holds the audio of a file that was sent.

    Args:
        wav: [C, N], float32, between -1 and 1.
        kind: the format of the file.
        sha256: the digest of the file as it was sent.
    """

    wav: npt.NDArray[np.float32]
    sample_rate: int
    kind: str
    sha256: str


class UploadStore:
    """This store holds the uploads of a database and their files."""

    def __init__(self, database: Database, blobs: BlobStore, limits: UploadLimits) -> None:
        self._database = database
        self._blobs = blobs
        self.limits = limits

    def same(self, owner: str, sha256: str, *, name: str) -> UploadRecord | None:
        """Return the upload of `owner` that was made of these very bytes, kept for another day under the new name;
        or None."""
        mine = (uploads.c.owner == owner) & (uploads.c.sha256 == sha256)
        renewed = {"created_at": self._database.now(), **({} if name == INLINE else {"name": name[:200]})}
        with self._database.write() as connection:
            found = connection.execute(
                update(uploads).where(mine).values(**renewed).returning(uploads)
            ).first()
        return None if found is None else UploadRecord(**found._mapping)

    def keep(self, owner: str, name: str, decoded: DecodedUpload) -> UploadRecord:
        """Store decoded audio; the same file again is the upload that there is. Each owner may keep a limited number.
        Beyond it, one that a piece was made from makes room, because the piece has a copy: the one that was used
        longest ago. Raises QuotaExceeded where there is none."""
        known = self.same(owner, decoded.sha256, name=name)
        if known is not None:
            return known
        record = UploadRecord(
            id=new_id("upl"), owner=owner, name=name[:200], kind=decoded.kind, sha256=decoded.sha256,
            sample_rate=decoded.sample_rate, channels=decoded.wav.shape[0], samples=decoded.wav.shape[-1],
            created_at=self._database.now(),
        )  # fmt: skip
        self._blobs.keep_upload(record.id, decoded.wav, decoded.sample_rate)
        replaced: str | None = None
        try:
            with self._database.write() as connection:
                replaced = self._make_room(connection, owner)
                values = {name: getattr(record, name) for name in UploadRecord.__dataclass_fields__}
                connection.execute(insert(uploads).values(**values))
        except BaseException:
            self._blobs.delete_upload(record.id)
            raise
        if replaced is not None:
            self._blobs.delete_upload(replaced)
        return record

    def _make_room(self, connection: Connection, owner: str) -> str | None:
        """Refuse one more upload of `owner`, or forget one -> which, if any."""
        mine = select(func.count()).select_from(uploads).where(uploads.c.owner == owner)
        if connection.execute(mine).scalar_one() < self.limits.kept_files:
            return None
        used = (uploads.c.owner == owner) & ((uploads.c.name == INLINE) | uploads.c.used_at.is_not(None))
        # Audio that came inside a request goes first: nobody else knows its name.
        order = ((uploads.c.name != INLINE), func.coalesce(uploads.c.used_at, 0.0), uploads.c.id)
        oldest = select(uploads.c.id).where(used).order_by(*order).limit(1)
        found: str | None = connection.execute(oldest).scalar_one_or_none()
        if found is None:
            first = select(func.min(uploads.c.created_at)).where(uploads.c.owner == owner)
            ends = connection.execute(first).scalar_one() + self.limits.kept_seconds
            raise QuotaExceeded(
                f"{self.limits.kept_files} uploads are kept for a day, and no piece was made from any of yours; "
                "delete some with DELETE /v1/uploads/ID",
                retry_after=max(1.0, ends - self._database.now()),
            )
        connection.execute(delete(uploads).where(uploads.c.id == found))
        return found

    def get(self, upload: str, owner: str) -> UploadRecord:
        """Return one of `owner`'s uploads."""
        row = None
        if is_id(upload, "upl"):
            with self._database.read() as connection:
                row = connection.execute(select(uploads).where(uploads.c.id == upload)).one_or_none()
        if row is None or row.owner != owner:
            raise NotFound(f"there is no upload {upload[:80]!r}")
        return UploadRecord(**row._mapping)

    def wanted(self, upload: str, owner: str, role: str = "audio") -> UploadRecord:
        """Return the same for a request that names it in its body, in the field `role`."""
        try:
            return self.get(upload, owner)
        except NotFound as error:
            raise InvalidInput(str(error), field=f"{role}.upload") from error

    def note_use(self, upload: str) -> None:
        """Note that a piece is made from an upload, and has a copy of it."""
        with self._database.write() as connection:
            values = {"used_at": self._database.now()}
            connection.execute(update(uploads).where(uploads.c.id == upload).values(**values))

    def list(self, owner: str) -> Sequence[UploadRecord]:
        """Return `owner`'s uploads, the newest first."""
        query = select(uploads).where(uploads.c.owner == owner).order_by(uploads.c.id.desc())
        with self._database.read() as connection:
            return [UploadRecord(**row._mapping) for row in connection.execute(query)]

    def delete(self, upload: str, owner: str) -> None:
        """Forget an upload; jobs that use it keep their copy."""
        self.get(upload, owner)
        self._blobs.delete_upload(upload)  # first: on a full disk, it makes the room that the database needs
        with self._database.write() as connection:
            connection.execute(delete(uploads).where(uploads.c.id == upload))

    def drop_orphans(self, *, seconds: float) -> None:
        """Remove files older than this that belong to no upload: of a process that died while it stored them."""
        for upload in self._blobs.uploads():
            path = self._blobs.upload_path(upload)
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > seconds and not self._known(upload):
                    path.unlink()

    def _known(self, upload: str) -> bool:
        with self._database.read() as connection:
            query = select(uploads.c.id).where(uploads.c.id == upload)
            return connection.execute(query).first() is not None

    def expire(self) -> int:
        """Forget uploads that were kept long enough -> how many."""
        with self._database.write() as connection:
            old = uploads.c.created_at < self._database.now() - self.limits.kept_seconds
            found = list(connection.execute(delete(uploads).where(old).returning(uploads.c.id)).scalars())
        for upload in found:
            self._blobs.delete_upload(upload)
        return len(found)
