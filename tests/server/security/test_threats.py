"""What misfortune and strangers do to a server, and that it goes on. docs/operations.md names what each test is for."""

from __future__ import annotations

import gc
import os
import re
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiocraft.config.serving import LeaseSettings, QueueLimits, ServingConfig
from audiocraft.errors import InvalidInput
from audiocraft.server.api import uploads
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import TERMINAL
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.jobs.uploads import DecodedUpload
from audiocraft.server.worker.dispatch import Dispatcher

from ...forked import Forked
from ..api.test_streams import read_events, serving
from ..fakes import RATE, FakeEngine
from ..test_app import WAIT, app_of, services_of, wav_bytes
from ..waiting import until, until_status
from ..worker.test_dispatch import submit

ROOT = Path(__file__).parents[3]


# ---------------------------------------------------------------------- too many, too slow


def test_many_clients_at_once_are_all_answered(config: ServingConfig) -> None:
    with serving(FakeEngine(step_seconds=0.005), config) as client:

        def use(number: int) -> list[int]:
            made = client.post("/v1/generations", json={"prompt": str(number), "duration": 0.5})
            job = f"/v1/generations/{made.json()['id']}"
            found = [made.status_code, client.get(job).status_code]
            until_status(client, made.json()["id"], *TERMINAL)
            return [*found, client.get(f"{job}/audio").status_code]

        with ThreadPoolExecutor(15) as threads:
            answers = list(threads.map(use, range(30)))
    assert {tuple(found) for found in answers} == {(202, 200, 200)}


def test_ten_times_too_many_are_refused_and_the_queue_stays_short(config: ServingConfig) -> None:
    few = replace(config, queue=QueueLimits(queued=5), lease=replace(config.lease, rows=1))
    with serving(FakeEngine(step_seconds=0.01), few) as client:
        with ThreadPoolExecutor(25) as threads:
            answers = list(
                threads.map(lambda _: client.post("/v1/generations", json={"prompt": "x"}), range(50))
            )
        refused = [answer for answer in answers if answer.status_code != 202]
        accepted = [answer.json() for answer in answers if answer.status_code == 202]
        assert {answer.status_code for answer in refused} == {503} and len(accepted) >= 5
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert all((piece["position"] or 0) < 5 for piece in accepted)
        for piece in accepted:
            until_status(client, piece["id"], "succeeded")


@contextmanager
def connected(client: Any, receives: int = 4096) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        connection.settimeout(60)
        connection.connect((client.base_url.host, client.base_url.port))
        yield connection


def test_stalled_readers_cost_no_memory_and_hold_up_nobody(
    config: ServingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, int] = {}
    original = BlobStore.read

    def counting(self: BlobStore, job: Any, start: int, stop: int) -> Any:
        read[threading.get_ident()] = read.get(threading.get_ident(), 0) + stop - start
        return original(self, job, start, stop)

    monkeypatch.setattr(BlobStore, "read", counting)
    with serving(FakeEngine(), config) as client:
        long = client.post("/v1/generations", json={"prompt": "x", "duration": 300.0}, headers=WAIT).json()
        until_status(client, long["id"], "succeeded")
        request = f"GET /v1/generations/{long['id']}/stream?format=f32 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with connected(client) as first, connected(client) as second, connected(client) as third:
            for stalled in (first, second, third):
                stalled.sendall(request.encode())
                assert stalled.recv(100).startswith(b"HTTP/1.1 200")
            other = client.post("/v1/generations", json={"prompt": "y", "duration": 1.0}, headers=WAIT).json()
            until_status(client, other["id"], "succeeded")
            # All of it would be 3 x 300 s; what was read lies in the buffers of the system.
            assert sum(read.values()) < 3 * 200 * RATE


def test_bodies_that_do_not_arrive_are_not_waited_for(config: ServingConfig) -> None:
    hasty = replace(config, request=replace(config.request, body_seconds=0.2))
    with serving(FakeEngine(), hasty) as client, connected(client) as slow:
        slow.sendall(b"POST /v1/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_nothing_accumulates(config: ServingConfig) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    with serving(FakeEngine(), config) as client:

        def use() -> None:
            body = {"prompt": "x", "duration": 0.5}
            made = client.post("/v1/generations", json=body, headers=WAIT).json()
            client.get(f"/v1/generations/{made['id']}/audio?format=flac")
            with client.stream("GET", f"/v1/generations/{made['id']}/stream"):
                pass  # leaves without reading
            hanging = client.post("/v1/generations", json={"prompt": "hang"}).json()
            client.post(f"/v1/generations/{hanging['id']}/cancel")
            client.delete(f"/v1/generations/{made['id']}")

        for _ in range(5):
            use()
        descriptors, threads = held()
        for _ in range(15):
            use()
        # Pools of connections and threads may grow by a few; fifteen rounds of anything kept would show.
        until(lambda: held()[0] <= descriptors + 10 and held()[1] <= threads + 10)


# ---------------------------------------------------------------------- disk and memory


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_507_leaves_nothing_behind_and_passes(client: TestClient) -> None:
    big = wav_bytes(20.0, 48_000)
    piece = client.post("/v1/generations", json={"prompt": "x", "duration": 40.0}, headers=WAIT).json()
    audio = f"/v1/generations/{piece['id']}/audio"
    folder = services_of(client).blobs.folder
    before = sorted(folder.rglob("*"))
    with no_file_beyond(1_000_000):
        for refused in (
            client.post("/v1/uploads", files={"file": ("a.wav", big)}),
            client.get(f"{audio}?format=f32"),
        ):
            assert (refused.status_code, refused.json()["code"]) == (507, "disk_full"), refused.text
        assert sorted(folder.rglob("*.*")) == [path for path in before if "." in path.name]
        made = client.post("/v1/generations", json={"prompt": "x", "duration": 100.0}, headers=WAIT).json()
        until_status(client, made["id"], "failed")
        assert client.get(f"/v1/generations/{made['id']}").json()["error"]["code"] == "disk_full"
        assert client.get(f"/v1/generations/{made['id']}/audio").status_code == 409
        assert client.get(audio).content[:4] == b"RIFF"  # reading goes on
    assert client.post("/v1/uploads", files={"file": ("a.wav", big)}).status_code == 201
    assert len(client.get(f"{audio}?format=f32").content) == 40 * RATE * 4


class HungryEngine(FakeEngine):
    """Wants more memory than there is, as torch and as Python say it."""

    def submit(self, *args: Any, **options: Any) -> Any:
        torch.empty(2**50)
        raise AssertionError

    def encode(self, *args: Any) -> Any:
        torch.empty(2**50)

    def decode(self, *args: Any) -> Any:
        raise MemoryError


def test_too_little_memory_fails_one_request_and_not_the_server(config: ServingConfig) -> None:
    with app_of(config, HungryEngine()) as client:
        piece = client.post("/v1/generations", json={"prompt": "x"}, headers=WAIT).json()
        assert (piece["status"], piece["error"]["code"]) == ("failed", "out_of_memory")
        for refused in (
            client.post("/v1/codec/encode", files={"file": ("x.wav", wav_bytes())}),
            client.post("/v1/codec/decode", json={"codes": [[1]]}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (503, "out_of_memory")
        assert client.get("/healthz").status_code == 200


# ---------------------------------------------------------------------- processes that die, several processes

_WORKER = """
import sys, time
from pathlib import Path
from audiocraft.config.serving import LeaseSettings
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.database import Database
from audiocraft.server.worker.dispatch import Dispatcher
from audiocraft.server.jobs.store import JobStore
from tests.server.fakes import FakeEngine

lease = LeaseSettings(seconds=600.0, heartbeat=0.2, poll=0.02, rows=4)
store = JobStore(Database(sys.argv[1]), lease=lease)
Dispatcher(store, BlobStore(Path(sys.argv[2])), FakeEngine(step_seconds=60.0), lease=lease).start()
time.sleep(600)
"""


def test_a_killed_worker_costs_an_attempt_and_no_job(store: JobStore, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "files")
    blobs.prepare()
    jobs = [submit(store, seed=seed) for seed in range(3)]
    words = [str(store.database.engine.url), str(blobs.folder)]
    log = tmp_path / "worker.log"
    with Forked(_WORKER, words, environment=os.environ, folder=ROOT, log=log):  # which is killed at the end
        until(lambda: all(store.get(job).status == "processing" for job in jobs))
    lease = LeaseSettings(seconds=2.0, heartbeat=0.2, poll=0.02)
    worker = Dispatcher(store, blobs, FakeEngine(), lease=lease)
    worker.start()
    until(lambda: all(store.get(job).finished for job in jobs))  # long before the leases run out
    worker.stop()
    for job in jobs:
        found = store.get(job)
        kinds = [event.kind for event in store.events(job)]
        assert (found.status, found.attempts) == ("succeeded", 2)
        assert [kind for kind in kinds if kind in TERMINAL] == ["succeeded"]


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_what_one_replica_makes_another_one_tells_and_cancels(
    config: ServingConfig, database_url: str
) -> None:
    config = replace(config, database=database_url)
    with (
        serving(FakeEngine(step_seconds=0.03), config) as first,
        serving(FakeEngine(), replace(config, workers=0)) as second,
    ):
        job = first.post("/v1/generations", json={"prompt": "x", "duration": 1.0}).json()["id"]
        told = read_events(second.get(f"/v1/generations/{job}/events").text)
        assert told[-1]["kind"] == "succeeded" and "audio" in [event["kind"] for event in told]
        pcm = second.get(f"/v1/generations/{job}/stream?format=pcm").content
        assert pcm == first.get(f"/v1/generations/{job}/audio?format=pcm").content
        hanging = first.post("/v1/generations", json={"prompt": "hang"}).json()["id"]
        until_status(first, hanging, "processing")
        assert second.post(f"/v1/generations/{hanging}/cancel").json()["status"] == "canceled"
        told = read_events(first.get(f"/v1/generations/{hanging}/events").text)
        assert [event["kind"] for event in told if event["kind"] in TERMINAL] == ["canceled"]


_COLUMNS_OF_0001 = (
    "id, owner, status, priority, kind, model, request, prompt, duration, seed, created_at, updated_at, done, total, "
    "samples, attempts, fence, event_count"
)


def test_jobs_that_wait_in_a_database_of_the_first_version_are_run(config: ServingConfig) -> None:
    from alembic import command
    from alembic.config import Config

    from audiocraft.server.jobs import migrations
    from audiocraft.server.jobs.database import Database

    settings = Config()
    settings.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    Path(config.data_dir, "audiocraft.db").unlink()  # which has the tables of today
    database = Database(config.database_url)
    job = "gen_" + "0" * 25 + "1"
    body = '{"kind": "music", "prompt": "old", "duration": 1.0, "seed": 1, "model": "fake"}'
    with database.write() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0001")
        values = (job, "local", "queued", 0, "music", "fake", body, "old", 1.0, 1, 1.0, 1.0, 0, 0, 0, 0, 0, 0)
        places = ", ".join("?" * len(values))
        connection.exec_driver_sql(f"insert into jobs ({_COLUMNS_OF_0001}) values ({places})", values)
    database.close()
    with app_of(config, FakeEngine()) as client:
        until_status(client, job, "succeeded")
        assert client.get(f"/v1/generations/{job}/audio").content[:4] == b"RIFF"


# ---------------------------------------------------------------------- names

_PARTS = [
    "..",
    ".",
    "/",
    "\\",
    "\0",
    "%2e%2e",
    "%2f",
    "%00",
    "C:",
    "CON",
    "~",
    "$HOME",
    "a",
    "é",
    "\u202e",
    "\n",
    ";",
    "'",
]
NAMES = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=8).map("".join)
_OURS = re.compile(
    r"audiocraft\.db(-wal|-shm)?|files|gen|upl|[0-9a-z]{2}|(gen|upl)_[0-9a-z]{26}(\.wav)?|[\w-]+\.wav"
)


def test_no_name_leads_out_of_the_data_folder(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = DecodedUpload(wav=np.zeros((1, 800), np.float32), sample_rate=RATE, kind="wav", sha256="0" * 64)
    monkeypatch.setattr(uploads.sandbox, "decode", lambda *args, **options: decoded)
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"SECRET")
    (tmp_path / "data" / "files" / "link.wav").symlink_to(secret)
    blobs = services_of(client).blobs

    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(NAMES)
    def tried(name: str) -> None:
        services_of(client).uploads.limits = replace(services_of(client).uploads.limits, kept_files=10**6)
        sent = client.post("/v1/uploads", files={"file": (name, b"x")})
        assert sent.status_code in (201, 400, 422), sent.text
        for place in ("/", "/static/", "/v1/generations/", "/v1/uploads/", "/v1/models/"):
            for path in (place + quote(name, safe=""), place + quote(name, safe="/.%") + "/audio"):
                answer = client.get(path)
                assert answer.status_code < 500 and b"SECRET" not in answer.content
        for use in (blobs.folder_of, blobs.input_of, blobs.upload_path, blobs.delete_job):
            with pytest.raises(InvalidInput):
                use(name)

    tried()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "secret.wav"}
    assert secret.read_bytes() == b"SECRET"
    strange = [path for path in (tmp_path / "data").rglob("*") if not _OURS.fullmatch(path.name)]
    assert not strange


# ---------------------------------------------------------------------- parts of files


@pytest.mark.parametrize(
    ("ranges", "status"),
    [
        (",".join(f"{start}-{start + 5}" for start in range(0, 20_000, 10)), 416),
        (",".join(["0-"] * 10_000), 416),
        (",".join(["0-99"] * 8), 206),
        ("0-99,50-149,10-20", 206),
        ("5-2", 400),
        ("99999999-", 416),
        ("-0", 416),
        ("x", 400),
        ("0-" + "9" * 5000, 400),
    ],
)
def test_any_ranges_are_answered_with_little(client: TestClient, ranges: str, status: int) -> None:
    job = client.post("/v1/generations", json={"prompt": "x", "duration": 1.0}, headers=WAIT).json()["id"]
    answer = client.get(f"/v1/generations/{job}/audio", headers={"Range": f"bytes={ranges}"})
    assert answer.status_code == status
    assert len(answer.content) <= 2 * RATE + 2000
