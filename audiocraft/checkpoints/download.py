"""Files from the web into a folder of ours: resumed after a break, checked, and never half there."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from audiocraft.checkpoints.progress import tell
from audiocraft.environment import VERSION
from audiocraft.errors import CheckpointError

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_ATTEMPTS = 4
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")
_BREAKS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
"""What a connection that ends too early looks like; worth another try."""


@dataclass(frozen=True, slots=True)
class DownloadSource:
    """A source says where a file is, and the digest its owner says it has (a whole SHA-256, or its first digits)."""

    url: str
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> DownloadSource:
        """Parse `URL#sha256=DIGEST`, a URL whose file name ends in `-DIGEST.th`, or a plain URL."""
        url, _, fragment = text.partition("#")
        digest = fragment.removeprefix("sha256=").lower() if fragment.startswith("sha256=") else None
        named = _HASH_IN_NAME.search(urlsplit(url).path)
        source = cls(url, digest or (named[1] if named else None))
        source.check()
        return source

    @property
    def filename(self) -> str:
        return unquote(urlsplit(self.url).path).rsplit("/", 1)[-1]

    def check(self) -> None:
        """Refuse what cannot be fetched safely, before anything is fetched."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CheckpointError(f"{self.url} is no address that a model can be fetched from")
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise CheckpointError(
                f"{self.sha256!r} is no SHA-256 of {self.url}: 64 hexadecimal digits, or the first 8"
            )
        if parts.scheme == "http" and not local and self.sha256 is None:
            raise CheckpointError(
                f"{self.url} is not encrypted; use https://, or pin the content with #sha256=DIGEST"
            )
        if not re.fullmatch(r"[\w.+@ ()-]+", self.filename) or self.filename.startswith("."):
            raise CheckpointError(f"{self.url} names no file")


def fetch(source: DownloadSource, target: Path) -> Path:
    """Return the file of `source` at `target`, which is written completely or not at all; nothing is fetched twice."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        with _alone(target.with_name(f".{target.name}.lock")):
            if target.is_file():
                _check_cached(source, target)
                return target
            _download(source, part)
            digest = _checked_digest(source, part)
            note = {"url": source.url, "sha256": digest, "size": part.stat().st_size}
            note_path(target).write_text(json.dumps(note) + "\n", encoding="utf-8")
            os.replace(part, target)
            return target
    except OSError as error:
        raise _trouble(source, target, error) from error


def note_path(file: Path) -> Path:
    """Return where the origin and the digest of a fetched file are kept."""
    return file.with_name(f"{file.name}.origin.json")


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_cached(source: DownloadSource, target: Path) -> None:
    """Check that a file that was fetched before is the one that is asked for now."""
    if source.sha256 is None:
        return
    try:
        known = json.loads(note_path(target).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        known = sha256_of(target)
    if not known.startswith(source.sha256):
        raise CheckpointError(
            f"{target} was fetched before and has the SHA-256 {known}, not {source.sha256}; "
            "delete it to fetch it again"
        )


def _checked_digest(source: DownloadSource, part: Path) -> str:
    digest = sha256_of(part)
    if source.sha256 is not None and not digest.startswith(source.sha256):
        part.unlink()
        raise CheckpointError(
            f"{source.url} has the SHA-256 {digest}, but {source.sha256} is expected: nothing was kept"
        )
    return digest


def _download(source: DownloadSource, part: Path) -> None:
    """Fill `part`, going on from what an earlier call left there."""
    for attempt in range(_ATTEMPTS):
        try:
            if _transfer(source, part):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise CheckpointError(
                    f"{source.url}: the server answers {error.code} {error.reason}"
                ) from error
            reason = f"the server answers {error.code} {error.reason}"
        except _BREAKS as error:
            cause = getattr(error, "reason", None) or error
            reason = f"{cause}" or type(error).__name__
        if attempt + 1 < _ATTEMPTS:
            time.sleep(min(0.2 * 4**attempt, 5.0))
    done = part.stat().st_size if part.exists() else 0
    kept = f"; the first {done} bytes are kept, try again to go on from there" if done else ""
    raise CheckpointError(f"cannot fetch {source.url}: {reason}{kept}")


def _transfer(source: DownloadSource, part: Path) -> bool:
    """Return one connection's worth; True when the file is complete."""
    mark = _mark(part)
    # Without its version or a digest, nobody would notice that the rest belongs to another file.
    known = mark.exists() or source.sha256 is not None
    have = part.stat().st_size if known and part.exists() else 0
    request = urllib.request.Request(source.url, headers={"User-Agent": f"audiocraft/{VERSION}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if mark.exists():
            # Without the same content behind the address, the server sends all of it and we begin anew.
            request.add_header("If-Range", mark.read_text(encoding="utf-8"))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        part.unlink()
        return False
    with response:
        DownloadSource(response.geturl(), source.sha256).check()  # where redirections led
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            return False
        if not resumed:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        _check_space(part.parent, source, (total or 0) - have)
        etag = response.headers.get("ETag")
        if etag and not etag.startswith("W/"):
            mark.write_text(etag, encoding="utf-8")
        with open(part, "ab" if resumed else "wb") as file:
            _copy(response, file, source.filename, have, total)
    complete = total is None or part.stat().st_size == total
    if complete:
        mark.unlink(missing_ok=True)
    return complete


def _mark(part: Path) -> Path:
    """Return where the version of an unfinished file is kept."""
    return part.with_name(f"{part.name}.etag")


def _copy(response: Any, file: IO[bytes], name: str, done: int, total: int | None) -> None:
    tell(name, done, total)
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        tell(name, done, total)
    file.flush()
    os.fsync(file.fileno())


def _check_space(folder: Path, source: DownloadSource, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{source.url} needs {needed / 1e6:.1f} MB, but {folder} has {free / 1e6:.1f} MB free; "
            "make room, or set AUDIOCRAFT_CACHE_DIR to another disk"
        )


def _trouble(source: DownloadSource, target: Path, error: OSError) -> CheckpointError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part = target.with_name(f".{target.name}.part")
        for left in (part, _mark(part), note_path(target)):
            left.unlink(missing_ok=True)
        return CheckpointError(
            f"the disk is full: cannot store {source.url} in {target.parent}; nothing was kept. "
            "Make room, or set AUDIOCRAFT_CACHE_DIR to another disk"
        )
    return CheckpointError(f"cannot store {source.url} in {target.parent}: {error.strerror or error}")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let in one process or thread at a time; others wait, and then find the file."""
    with FileLock(lock):
        yield
