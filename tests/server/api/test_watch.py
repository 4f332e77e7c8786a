"""What a page holds open and what its owner may change: news of all pieces on one connection, titles, file names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

pytest.importorskip("fastapi")

import soundfile
from fastapi.testclient import TestClient

from audiocraft.config.serving import ServingConfig
from audiocraft.server.api.backpressure import StreamLimits
from audiocraft.server.api.files import file_name
from audiocraft.server.api.followers import PiecesFollower
from audiocraft.server.jobs.records import LOCAL_OWNER, GenerationJob

from ..fakes import FakeEngine
from ..waiting import until, until_status
from .test_streams import serving


@pytest.fixture
def idle_follower(idle: TestClient) -> PiecesFollower:
    """Follows the pieces of a server that makes none."""
    services = idle.app.state.services  # type: ignore[attr-defined]
    return PiecesFollower(services, LOCAL_OWNER, StreamLimits(poll=0.0))


def ask(client: Any, **more: Any) -> str:
    answer = client.post("/v1/generations", json={"prompt": "calm", "duration": 1.0, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def look(follower: PiecesFollower) -> list[tuple[str, str | None, int | None]]:
    return [(name, job.status if job else None, position) for name, job, position in follower._look()]


def test_each_change_is_told_once(idle: TestClient, idle_follower: PiecesFollower) -> None:
    first = ask(idle)
    assert look(idle_follower) == [(first, "queued", 0)]
    assert look(idle_follower) == []
    second = ask(idle)
    assert look(idle_follower) == [(second, "queued", 1)]
    idle.post(f"/v1/generations/{first}/cancel")
    assert sorted(look(idle_follower)) == sorted([(first, "canceled", None), (second, "queued", 0)])
    idle.delete(f"/v1/generations/{second}")
    assert look(idle_follower) == [(second, None, None)]
    assert look(idle_follower) == []


def test_a_piece_that_ends_between_two_looks_is_told(idle: TestClient, idle_follower: PiecesFollower) -> None:
    assert look(idle_follower) == []
    quick = ask(idle)
    idle.post(f"/v1/generations/{quick}/cancel")
    assert look(idle_follower) == [(quick, "canceled", None)]
    assert look(idle_follower) == []


def test_others_are_not_told(idle: TestClient) -> None:
    services = idle.app.state.services  # type: ignore[attr-defined]
    ask(idle)
    assert look(PiecesFollower(services, "key_of_somebody_else", StreamLimits())) == []


def test_a_socket_tells_of_pieces_that_others_of_the_owner_ask_for(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "watch"})
        assert socket.receive_json() == {"type": "watching"}
        socket.send_json({"type": "watch"})
        assert socket.receive_json()["field"] == "type"  # once is enough
        made = ask(client)
        statuses = []
        while "succeeded" not in statuses:
            news = socket.receive_json()
            assert news["type"] == "changed"
            assert news["generation"]["id"] == made
            statuses.append(news["generation"]["status"])


def test_a_title_names_the_piece_its_files_and_its_search(client: TestClient) -> None:
    made = ask(client, metadata={"set": "one"}, seed=7)
    until_status(client, made, "succeeded")
    before = client.get(f"/v1/generations/{made}/audio?format=flac").content
    answer = client.patch(f"/v1/generations/{made}", json={"metadata": {"title": "Morning, take 2"}})
    assert answer.json()["metadata"] == {"set": "one", "title": "Morning, take 2"}
    assert [one["id"] for one in client.get("/v1/generations?q=MORNING calm").json()["data"]] == [made]
    file = client.get(f"/v1/generations/{made}/audio?format=flac&download=true")
    assert 'filename="morning-take-2-7.flac"' in file.headers["content-disposition"]
    assert file.content == before
    client.patch(f"/v1/generations/{made}", json={"metadata": {"title": None}})
    assert client.get(f"/v1/generations/{made}").json()["metadata"] == {"set": "one"}
    assert client.get("/v1/generations?q=morning").json()["data"] == []


def test_metadata_keeps_its_bounds(idle: TestClient) -> None:
    made = ask(idle, metadata={f"word{number}": "x" for number in range(16)})
    for metadata in ({"title": "one too many"}, {"title": "x" * 513}, {"": "x"}, {}):
        assert idle.patch(f"/v1/generations/{made}", json={"metadata": metadata}).status_code == 422
    assert idle.patch(f"/v1/generations/{made}", json={"metadata": {"word3": "y"}}).status_code == 200


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("잔잔한 피아노, 80 bpm", "잔잔한-피아노-80-bpm-7"), ("静かなピアノ", "静かなピアノ-7"),
        ("Тихое пианино / ../etc", "тихое-пианино-etc-7"), ("بيانو هادئ", "بيانو-هادئ-7"), ("…!?", "music-7"),
        ("e\u0301tude", "\u00e9tude-7"), ("शांत पियानो", "शांत-पियानो-7"),
    ],
)  # fmt: skip
def test_file_names_keep_the_words_of_every_alphabet(prompt: str, name: str) -> None:
    job = GenerationJob(
        id="gen_x", owner="local", status="succeeded", priority=0, kind="music", model="fake", request={},
        prompt=prompt, duration=1.0, seed=7, created_at=0.0, updated_at=0.0,
    )  # fmt: skip
    assert file_name(job) == name


@pytest.fixture
def slow(config: ServingConfig) -> Iterator[Any]:
    """A server that makes a piece in a second."""
    with serving(FakeEngine(step_seconds=0.1), config) as client:
        yield client


def test_a_canceled_piece_is_as_long_as_it_got(slow: Any) -> None:
    made = ask(slow, duration=20.0)

    def begun() -> bool:
        audio = slow.get(f"/v1/generations/{made}").json()["audio"]
        return audio is not None and audio["seconds"] > 0

    until(begun)
    slow.post(f"/v1/generations/{made}/cancel")
    seconds = slow.get(f"/v1/generations/{made}").json()["audio"]["seconds"]
    content = slow.get(f"/v1/generations/{made}/stream?format=wav").content
    assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(seconds)
    assert 0 < seconds < 20


def test_followers_end_with_their_reader(idle_follower: PiecesFollower, idle: TestClient) -> None:
    ask(idle)

    async def first() -> Any:
        async for change in idle_follower.changes():
            return change

    assert anyio.run(first)[1].status == "queued"
