"""Telling other servers that a piece is finished: signed, tried again, and never sent into private networks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import select, update

from audiocraft.config.serving import WebhookSettings
from audiocraft.errors import InvalidInput
from audiocraft.server.jobs.database import Database
from audiocraft.server.jobs.records import GenerationJob, JobNotFound
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.tables import deliveries
from audiocraft.server.security.keys import KeyStore

_log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
_TAKEN_SECONDS = 30.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
_AT_ONCE = 4
_PORTS = (443, 8443)
_ANSWER_BYTES = 1024


class AddressRefused(InvalidInput):
    """A webhook's address is not allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A delivery is one message that is due."""

    id: str
    job: str
    owner: str
    event: str
    url: str
    attempts: int


def check_address(url: str, settings: WebhookSettings) -> SplitResult:
    """Return the parts of a webhook's address, if it may be used at all; where it leads is checked when it is used."""
    if not settings.enabled:
        raise AddressRefused("this server sends no webhooks", field="webhook")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("the webhook's address cannot be read", field="webhook") from error
    plain = any(ord(letter) <= 32 or ord(letter) > 126 for letter in url) or "\\" in url
    if plain or not parts.hostname or parts.username is not None or parts.password is not None:
        raise AddressRefused("a webhook's address is https://host/path, without a password", field="webhook")
    if settings.allow_private:
        if parts.scheme not in ("http", "https"):
            raise AddressRefused("a webhook's address begins with http:// or https://", field="webhook")
        return parts
    if parts.scheme != "https" or (port is not None and port not in _PORTS):
        raise AddressRefused("webhooks go to https:// on port 443 or 8443 only", field="webhook")
    host = parts.hostname
    # Names without a letter are addresses in one of many spellings: decimal, octal, hexadecimal.
    if ("." not in host.strip(".") and ":" not in host) or not any(
        letter.isalpha() for letter in host.rpartition(".")[2]
    ):
        _public(_address(host))
    elif ":" in host:
        _public(_address(host))
    return parts


def resolve(host: str, port: int, settings: WebhookSettings) -> str:
    """Return the address to connect to. Every address of the name must be public, and the one returned is the one
    used, so that a name cannot lead elsewhere between the check and the connection."""
    try:
        found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise ConnectionError("the host name cannot be resolved") from error
    if not settings.allow_private:
        for address in found:
            _public(str(address))
    return str(found[0])


def signature(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookState:
    """This record says how far the message about a job is.

    Args:
        state: "waiting" for its first or next attempt, "delivered", or "given_up".
        last_answer: the status of the last answer, or what went wrong.
        next_at: seconds since 1970; None where there is no next attempt.
    """

    state: str
    attempts: int
    last_answer: str | None
    next_at: float | None


def webhook_state(database: Database, job: str) -> WebhookState | None:
    """Return how far the message about a job is, or None while there is none: the job has not ended."""
    query = select(deliveries).where(deliveries.c.job == job).order_by(deliveries.c.id.desc()).limit(1)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    state = "delivered" if row.delivered else "given_up" if row.next_at is None else "waiting"
    return WebhookState(state=state, attempts=row.attempts, last_answer=row.last_answer, next_at=row.next_at)


class WebhookSender:
    """This sender sends the messages that are due: a few at a time, but never two of one owner, so that an owner whose
    server answers slowly delays only their own messages. Several processes share the work.

    Args:
        describe: turns a job into the data of its message.
    """

    def __init__(
        self,
        store: JobStore,
        keys: KeyStore,
        settings: WebhookSettings,
        *,
        describe: Callable[[GenerationJob], dict[str, Any]],
    ) -> None:
        self._store = store
        self._describe = describe
        self._keys = keys
        self._settings = settings
        self._ended = threading.Event()
        self._taking = threading.Lock()
        self._busy: set[str] = set()  # owners to whom something is being sent
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send."""
        for number in range(_AT_ONCE if self._settings.enabled else 0):
            name = f"audiocraft-webhooks-{number}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """End after the messages that are being sent."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=self._settings.seconds + 5.0)

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                busy = self.step()
            except Exception:  # noqa: BLE001 - one bad message must not end all others
                _log.exception("webhooks cannot be sent")
                busy = False
            if not busy:
                self._ended.wait(_IDLE_SECONDS)

    def step(self) -> bool:
        """Send the message that is due longest; whether there was one."""
        delivery = self._take()
        if delivery is None:
            return False
        try:
            self._deliver(delivery)
        finally:
            with self._taking:
                self._busy.discard(delivery.owner)
        return True

    def _deliver(self, delivery: Delivery) -> None:
        try:
            status = self._send(delivery)
            answer, delivered = str(status), 200 <= status < 300
            final = delivered or status == 410
        except AddressRefused as error:
            answer, delivered, final = str(error), False, True
        except (OSError, http.client.HTTPException, ValueError) as error:
            answer, delivered, final = type(error).__name__, False, False
        final = final or delivery.attempts >= self._settings.attempts
        if not delivered:
            _log.warning(
                "webhook of %s to %s: %s at attempt %d; %s", delivery.job, urlsplit(delivery.url).hostname, answer,
                delivery.attempts, "given up" if final else "trying again",
            )  # fmt: skip
        self._note(delivery, answer=answer, delivered=delivered, final=final)

    def _take(self) -> Delivery | None:
        """Return the next message. It is not due again for a while, so that nobody else sends it; a crash while sending
        costs one attempt."""
        with self._taking:
            found = self._due()
            if found is not None:
                self._busy.add(found.owner)
            return found

    def _due(self) -> Delivery | None:
        database = self._store.database
        now = database.now()
        due = (
            select(deliveries)
            .where(deliveries.c.next_at <= now, deliveries.c.owner.not_in(self._busy))
            .order_by(deliveries.c.next_at)
            .limit(1)
        )
        with database.read() as connection:  # mostly there is nothing, which needs no turn to write
            if connection.execute(due).first() is None:
                return None
        with database.write() as connection:
            row = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row.id)
                .values(attempts=row.attempts + 1, next_at=now + _TAKEN_SECONDS + self._settings.seconds)
            )
        return Delivery(
            id=row.id, job=row.job, owner=row.owner, event=row.event, url=row.url, attempts=row.attempts + 1
        )

    def _send(self, delivery: Delivery) -> int:
        parts = check_address(delivery.url, self._settings)
        try:
            job = self._store.get(delivery.job)
        except JobNotFound:
            return 410  # deleted meanwhile: nobody wants to hear of it
        now = int(self._store.database.now())
        body = json.dumps({"type": delivery.event, "timestamp": now, "data": self._describe(job)}).encode()
        secret = self._keys.webhook_secret(delivery.owner)
        headers = {
            "Content-Type": "application/json", "User-Agent": "audiocraft-webhooks", "webhook-id": delivery.id,
            "webhook-timestamp": str(now), "webhook-signature": signature(secret, delivery.id, now, body),
        }  # fmt: skip
        return _post(parts, body, headers, self._settings)

    def _note(self, delivery: Delivery, *, answer: str, delivered: bool, final: bool) -> None:
        values: dict[str, Any] = {"last_answer": answer[:200], "delivered": delivered}
        pause = self._settings.first_delay * 4 ** (delivery.attempts - 1)
        values["next_at"] = None if final else self._store.database.now() + pause
        with self._store.database.write() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(**values))


def _post(parts: SplitResult, body: bytes, headers: dict[str, str], settings: WebhookSettings) -> int:
    """Send to the address that was checked -> the status. Redirects are answers like others."""
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    pinned = resolve(host, port, settings)
    raw = socket.create_connection((pinned, port), timeout=settings.seconds)
    with raw, raw.dup() as other_end:
        # The time limit of a socket begins anew with each byte; this one is for all of them.
        limit = threading.Timer(settings.seconds, _cut, (other_end,))
        limit.daemon = True
        limit.start()
        try:
            channel = ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secure else raw
            with channel:
                connection = http.client.HTTPConnection(host, port, timeout=settings.seconds)
                connection.sock = channel
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                with contextlib.suppress(OSError, http.client.HTTPException):  # what it says does not matter
                    response.read(_ANSWER_BYTES)
                return response.status
        finally:
            limit.cancel()


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _address(host: str) -> str:
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return host


def _public(address: str) -> None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
    except ValueError as error:
        raise AddressRefused("the webhook's host is not a public name", field="webhook") from error
    for candidate in (parsed, *_inside(parsed)):
        local = isinstance(candidate, ipaddress.IPv6Address) and candidate.is_site_local
        if not candidate.is_global or candidate.is_multicast or local:
            raise AddressRefused("webhooks go to public addresses only", field="webhook")


def _inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address may lead to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
