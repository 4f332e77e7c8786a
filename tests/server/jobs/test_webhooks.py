"""Webhooks: signed, tried again, and never sent into private networks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from sqlalchemy import select

from audiocraft.config.serving import WebhookSettings
from audiocraft.server.api.responses import generation_document
from audiocraft.server.jobs.records import JobError, NewJob, new_id
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.tables import deliveries
from audiocraft.server.jobs.webhooks import (
    AddressRefused,
    WebhookSender,
    check_address,
    resolve,
    signature,
    webhook_state,
)
from audiocraft.server.security.keys import KeyStore

from ..waiting import until

CLOSED = WebhookSettings()
OPEN = WebhookSettings(allow_private=True, first_delay=0.0, attempts=3)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "ftp://example.com",
        "https://",
        "https://user:pass@example.com/",
        "https://example.com:22/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://10.1.2.3/",
        "https://169.254.169.254/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://localhost/",
        "https://[fe80::1%25eth0]/",
        "https://[::]/",
        "https://[64:ff9b::7f00:1]/",
        "https://224.0.0.1/",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://192.168.0.1:443/",
        "https://100.64.0.1/",
        "javascript:alert(1)",
        "https://[::1",
        "https://[2002:7f00:1::]/",
        "https://[::7f00:1]/",
        "https://[fec0::1]/",
    ],
)
def test_addresses_that_are_refused_at_once(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        check_address(url, CLOSED)
    assert refused.value.field == "webhook"


def test_public_addresses_are_taken() -> None:
    for url in ("https://example.com/hook?x=1", "https://example.com:8443/", "https://1.1.1.1/"):
        assert check_address(url, CLOSED).hostname


@pytest.mark.parametrize("answer", ["127.0.0.1", "10.0.0.8", "::1", "169.254.169.254", "::ffff:192.168.1.1"])
def test_names_that_lead_inside_are_refused(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    entries = [(0, 0, 0, "", ("93.184.215.14", 443)), (0, 0, 0, "", (answer, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: entries)
    with pytest.raises(AddressRefused):
        resolve("rebinding.example", 443, CLOSED)


def test_the_address_that_was_checked_is_the_one_used(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(0, 0, 0, "", ("93.184.215.14", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: entries)
    assert resolve("example.com", 443, CLOSED) == "93.184.215.14"


class Receiver:
    """A server that notes what it gets and answers with the next of `answers`."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def ended_job(store: JobStore, url: str, owner: str = "a") -> str:
    job = NewJob(
        id=new_id("gen"), owner=owner, kind="music", model="m", request={"prompt": "p"}, prompt="p", duration=1.0,
        seed=1, webhook_url=url,
    )  # fmt: skip
    store.submit(job)
    held = store.claim("w")
    assert held is not None
    store.fail(held, JobError(code="x", message="y"))
    return job.id


def sender_of(store: JobStore, settings: WebhookSettings) -> tuple[WebhookSender, KeyStore]:
    keys = KeyStore(store.database)
    return WebhookSender(store, keys, settings, describe=generation_document), keys


def test_a_signed_message_is_sent_once(store: JobStore, receiver: Receiver) -> None:
    job = ended_job(store, receiver.url)
    sender, keys = sender_of(store, WebhookSettings(allow_private=True))
    assert sender.step() and not sender.step()
    headers, body = receiver.got[0]
    message = json.loads(body)
    assert message["type"] == "generation.failed" and message["data"]["id"] == job
    secret = base64.b64decode(keys.webhook_secret("a").removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert keys.webhook_secret("a") != keys.webhook_secret("b")


def test_the_signature_is_that_of_the_standard() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == expected


def test_failures_are_tried_again_and_given_up_at_last(
    store: JobStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    job = ended_job(store, receiver.url)
    receiver.answers = [500, 302, 503, 200]
    sender, _ = sender_of(store, OPEN)
    before = webhook_state(store.database, job)
    assert before is not None and (before.state, before.attempts) == ("waiting", 0)
    steps = 0
    while sender.step():
        steps += 1
    assert steps == len(receiver.got) == 3  # a redirect is no success, and is not followed
    with store.database.read() as connection:
        row = connection.execute(select(deliveries)).one()
    assert row.next_at is None and not row.delivered and row.attempts == 3
    # Whoever looks at the piece, and whoever reads the log, sees it.
    state = webhook_state(store.database, job)
    assert state is not None and (state.state, state.attempts, state.last_answer) == ("given_up", 3, "503")
    told = [record.getMessage() for record in caplog.records if "webhook of" in record.getMessage()]
    assert len(told) == 3 and "500" in told[0] and "given up" in told[2] and job in told[0]


def test_success_after_a_failure(store: JobStore, receiver: Receiver) -> None:
    ended_job(store, receiver.url)
    receiver.answers = [500]
    sender, _ = sender_of(store, OPEN)
    while sender.step():
        pass
    assert len(receiver.got) == 2
    assert (
        len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    )  # receivers know repetitions by it
    with store.database.read() as connection:
        assert connection.execute(select(deliveries)).one().delivered


def test_a_private_address_in_the_store_is_not_called(store: JobStore, receiver: Receiver) -> None:
    ended_job(store, receiver.url)
    sender, _ = sender_of(store, CLOSED)
    assert sender.step() and not sender.step()
    assert receiver.got == []


def test_nobody_waits_for_those_who_answer_slowly(store: JobStore, receiver: Receiver) -> None:
    """A receiver that drips its answer: each byte is in time, all of them never are."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        while not ended.wait(0.05):
                            connection.sendall(b"H")
                    except OSError:
                        pass

        threading.Thread(target=drip, daemon=True).start()
        slow = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for _ in range(3):
            ended_job(store, slow, owner="slow")
        ended_job(store, receiver.url, owner="other")
        sender, _ = sender_of(store, replace(OPEN, seconds=0.5, attempts=1))
        sender.start()
        until(lambda: receiver.got)
        with store.database.read() as connection:  # one at a time to the slow one
            rows = connection.execute(select(deliveries).where(deliveries.c.owner == "slow")).all()
        assert sum(row.attempts for row in rows) < 3
        until(lambda: not _due(store))  # and each is given up in the end
        ended.set()
        sender.stop()


def _due(store: JobStore) -> int:
    with store.database.read() as connection:
        return len(connection.execute(select(deliveries).where(deliveries.c.next_at.is_not(None))).all())


def test_messages_are_forgotten_with_their_pieces(store: JobStore, receiver: Receiver) -> None:
    job = ended_job(store, receiver.url)
    sender, _ = sender_of(store, OPEN)
    assert sender.step()
    store.delete(job)
    with store.database.read() as connection:
        assert connection.execute(select(deliveries)).all() == []
