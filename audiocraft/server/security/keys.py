"""API keys: shown once when made, stored as digests, with scopes and quotas."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.exc import IntegrityError

from audiocraft.config.decode import encode
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.server.jobs.admission import Quota
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.records import LOCAL_OWNER, new_id
from audiocraft.server.jobs.tables import api_keys, settings

SCOPES = ("generate", "codec", "analyze", "admin")
DEFAULT_SCOPES = ("generate", "codec", "analyze")
ENVIRONMENT = "environment"
"""The name of the key that a process was started with."""

_PREFIX = "ack_"
_LEAST_SECRET, _MOST_SECRET = 16, 256
_CACHE_SECONDS = 5.0
_CACHE_SIZE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A principal is the sender of a request: an API key, or a person at the machine itself.

    Args:
        owner: the id of the key, or `local`.
    """

    owner: str
    scopes: frozenset[str]
    quota: Quota = Quota()


LOCAL = Principal(owner=LOCAL_OWNER, scopes=frozenset(SCOPES))


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """This record describes a key without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    quota: Quota
    created_at: float
    revoked_at: float | None = None


class KeyStore:
    """The store keeps the keys of a database. Revoking works everywhere within a few seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Principal | None]] = {}
        self._given: str | None = None  # the digest of the key this process was started with

    def create(
        self, name: str, *, scopes: Sequence[str] = DEFAULT_SCOPES, quota: Quota | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key -> (key, secret). The secret cannot be found out again."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InvalidInput(f"scopes are {', '.join(SCOPES)}, not {unknown or 'none'}", field="scopes")
        if not name.strip() or len(name) > 80 or not name.isprintable() or name.strip() == ENVIRONMENT:
            raise InvalidInput(
                f"a key needs a name of at most 80 printable characters, other than {ENVIRONMENT!r}",
                field="name",
            )
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            id=new_id("key"), name=name.strip(), scopes=tuple(scopes), quota=quota or Quota(),
            created_at=self._database.now(),
        )  # fmt: skip
        with self._database.write() as connection:
            connection.execute(
                insert(api_keys).values(
                    id=key.id, name=key.name, digest=_digest(secret), scopes=list(key.scopes),
                    quota=encode(key.quota), created_at=key.created_at,
                )
            )  # fmt: skip
        return key, secret

    def ensure(self, secret: str) -> None:
        """Take a key with this secret and every scope, for as long as this process lives. Another secret at the next
        start ends the one before, and has the same owner: its pieces stay."""
        if not _LEAST_SECRET <= len(secret) <= _MOST_SECRET:
            raise ConfigError(
                f"an API key has {_LEAST_SECRET} to {_MOST_SECRET} characters, not {len(secret)}"
            )
        digest = _digest(secret)
        try:
            self._keep(digest)
        except IntegrityError:  # another replica has stored the same one meanwhile
            self._keep(digest)
        self._given = digest

    def _keep(self, digest: str) -> None:
        mine = api_keys.c.name == ENVIRONMENT
        with self._database.write() as connection:
            if (
                connection.execute(select(api_keys.c.id).where(api_keys.c.digest == digest)).first()
                is not None
            ):
                return
            newest = select(api_keys.c.id).where(mine).order_by(api_keys.c.id.desc()).limit(1)
            earlier = connection.execute(newest).scalar_one_or_none()
            if earlier is not None:
                renewed = update(api_keys).where(api_keys.c.id == earlier)
                connection.execute(renewed.values(digest=digest, revoked_at=None))
                return
            connection.execute(
                insert(api_keys).values(
                    id=new_id("key"), name=ENVIRONMENT, digest=digest, scopes=list(SCOPES), quota={},
                    created_at=self._database.now(),
                )
            )  # fmt: skip

    def list(self) -> list[ApiKey]:
        """Return all keys, revoked ones too, the newest first."""
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.id.desc()))]

    def revoke(self, key: str) -> bool:
        """End a key; whether there was such a valid one."""
        valid = (api_keys.c.id == key) & api_keys.c.revoked_at.is_(None)
        with self._database.write() as connection:
            done = connection.execute(update(api_keys).where(valid).values(revoked_at=self._database.now()))
        with self._lock:
            self._known.clear()
        return bool(done.rowcount)

    def any(self) -> bool:
        """Return whether there is a valid key."""
        valid = api_keys.c.revoked_at.is_(None) & self._usable()
        with self._database.read() as connection:
            return connection.execute(select(api_keys.c.id).where(valid).limit(1)).first() is not None

    def principal(self, secret: str) -> Principal | None:
        """Return the owner of a secret, or None."""
        if not _LEAST_SECRET <= len(secret) <= _MOST_SECRET:
            return None
        digest, now = _digest(secret), time.monotonic()
        with self._lock:
            until, known = self._known.get(digest, (0.0, None))
        if now < until:
            return known
        found = self._find(digest)
        with self._lock:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[digest] = (now + _CACHE_SECONDS, found)
        return found

    def webhook_secret(self, owner: str) -> str:
        """Return what `owner`'s webhooks are signed with, in the words of Standard Webhooks."""
        return "whsec_" + base64.b64encode(hmac.digest(self._master(), owner.encode(), "sha256")).decode()

    def _usable(self) -> ColumnElement[bool]:
        """Return the condition under which a key counts: one from the environment, only in processes that have it
        there."""
        return (api_keys.c.name != ENVIRONMENT) | (api_keys.c.digest == (self._given or ""))

    def _find(self, digest: str) -> Principal | None:
        same = (api_keys.c.digest == digest) & self._usable()
        with self._database.read() as connection:
            row = connection.execute(select(api_keys).where(same)).one_or_none()
        if row is None or row.revoked_at is not None or not hmac.compare_digest(row.digest, digest):
            return None
        return Principal(owner=row.id, scopes=frozenset(row.scopes), quota=Quota(**row.quota))

    def _master(self) -> bytes:
        """Return one secret per database, made when it is first needed."""
        query = select(settings.c.value).where(settings.c.name == "webhook_master")
        with self._database.read() as connection:
            found: str | None = connection.execute(query).scalar_one_or_none()
        if found is None:
            try:
                with self._database.write() as connection:
                    row = {"name": "webhook_master", "value": secrets.token_hex(32)}
                    connection.execute(insert(settings).values(**row))
            except IntegrityError:
                pass  # another one has made it meanwhile
            with self._database.read() as connection:
                found = connection.execute(query).scalar_one()
        return bytes.fromhex(found)


def _digest(secret: str) -> str:
    # The secret has 256 bits of chance, so a slow hash would add nothing.
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id, name=row.name, scopes=tuple(row.scopes), quota=Quota(**row.quota),
        created_at=row.created_at, revoked_at=row.revoked_at,
    )  # fmt: skip
