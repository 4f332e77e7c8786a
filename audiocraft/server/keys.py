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

from sqlalchemy import insert, select, update

from audiocraft.config.decode import encode
from audiocraft.errors import ConfigError, InvalidInput
from audiocraft.server.admission import Quota
from audiocraft.server.database import Database
from audiocraft.server.records import LOCAL_OWNER, new_id
from audiocraft.server.tables import api_keys, settings

SCOPES = ("generate", "codec", "analyze", "admin")
DEFAULT_SCOPES = ("generate", "codec", "analyze")
_PREFIX = "ack_"
_LEAST_SECRET, _MOST_SECRET = 16, 256
_CACHE_SECONDS = 5.0
_CACHE_SIZE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who sends a request: an API key, or a person at the machine itself."""

    owner: str
    scopes: frozenset[str]
    quota: Quota = Quota()


LOCAL = Principal(owner=LOCAL_OWNER, scopes=frozenset(SCOPES))


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    quota: Quota
    created_at: float
    revoked_at: float | None = None


class KeyStore:
    """The keys of a database. Revoking works everywhere within a few seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Principal | None]] = {}

    def create(
        self, name: str, *, scopes: Sequence[str] = DEFAULT_SCOPES, quota: Quota | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key -> (key, secret). The secret cannot be found out again."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InvalidInput(f"scopes are {', '.join(SCOPES)}, not {unknown or 'none'}", field="scopes")
        if not name.strip() or len(name) > 80:
            raise InvalidInput("a key needs a name of at most 80 characters", field="name")
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
        """Make a key with this secret, with every scope, unless there is one."""
        if len(secret) < _LEAST_SECRET:
            raise ConfigError(f"an API key needs at least {_LEAST_SECRET} characters")
        with self._database.write() as connection:
            digest = _digest(secret)
            if connection.execute(select(api_keys.c.id).where(api_keys.c.digest == digest)).first() is None:
                connection.execute(
                    insert(api_keys).values(
                        id=new_id("key"), name="environment", digest=digest, scopes=list(SCOPES), quota={},
                        created_at=self._database.now(),
                    )
                )  # fmt: skip

    def list(self) -> list[ApiKey]:
        """All keys, revoked ones too, the newest first."""
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
        """Whether there is a valid key."""
        with self._database.read() as connection:
            query = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)
            return connection.execute(query).first() is not None

    def principal(self, secret: str) -> Principal | None:
        """Whose secret this is; None if nobody's."""
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
        """What `owner`'s webhooks are signed with, in the words of Standard Webhooks."""
        return "whsec_" + base64.b64encode(hmac.digest(self._master(), owner.encode(), "sha256")).decode()

    def _find(self, digest: str) -> Principal | None:
        with self._database.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.digest == digest)).one_or_none()
        if row is None or row.revoked_at is not None or not hmac.compare_digest(row.digest, digest):
            return None
        return Principal(owner=row.id, scopes=frozenset(row.scopes), quota=Quota(**row.quota))

    def _master(self) -> bytes:
        """One secret per database, made when it is first needed."""
        mine = settings.c.name == "webhook_master"
        with self._database.write() as connection:
            found = connection.execute(select(settings.c.value).where(mine)).scalar_one_or_none()
            if found is None:
                found = secrets.token_hex(32)
                connection.execute(insert(settings).values(name="webhook_master", value=found))
        return bytes.fromhex(found)


def _digest(secret: str) -> str:
    # The secret has 256 bits of chance, so a slow hash would add nothing.
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id, name=row.name, scopes=tuple(row.scopes), quota=Quota(**row.quota),
        created_at=row.created_at, revoked_at=row.revoked_at,
    )  # fmt: skip
