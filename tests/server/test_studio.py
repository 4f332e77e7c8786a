"""The studio's jobs: songs are durable jobs as pieces are, and nothing that is there is made again."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from fastapi.testclient import TestClient

from audiocraft.config.serving import LeaseSettings
from audiocraft.generation.request import GenerationRequest
from audiocraft.server.api.studio_bodies import SongBody
from audiocraft.server.jobs.blobs import BlobStore
from audiocraft.server.jobs.records import NewJob, new_id
from audiocraft.server.jobs.store import JobStore
from audiocraft.server.worker.dispatch import Dispatcher
from audiocraft.server.worker.studio import edits
from audiocraft.types import ScorePlan
from audiocraft.workflows.studio.project import read_song

from . import fakes
from .fakes import RATE, FakeEngine
from .waiting import until, until_status

SONG: dict[str, Any] = {
    "sections": [
        {"name": "verse", "prompt": "calm piano", "bars": 1},
        {"name": "chorus", "prompt": "strings and drums", "bars": 1},
    ],
    "tempo": 160,
    "key": "A minor",
    "seed": 5,
    "metadata": {"title": "Morning"},
}


def made(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, once it has ended."""
    answer = client.post(path, json=body)
    assert answer.status_code == 202, answer.text
    until_status(client, answer.json()["id"], "succeeded", "failed", "canceled")
    found: dict[str, Any] = client.get(f"/v1/generations/{answer.json()['id']}").json()
    return found


def prompts(engine: FakeEngine) -> list[str | None]:
    return [prompt for request in engine.requests for prompt in request.prompts]


def test_a_song_is_a_job_with_audio_plan_sections_and_its_project(client: TestClient, tmp_path: Path) -> None:
    song = made(client, "/v1/songs", {**SONG, "stems": True})
    assert song["status"] == "succeeded", song["error"]
    assert song["kind"] == "song" and song["progress"] == 1.0 and song["metadata"]["title"] == "Morning"
    assert song["audio"]["seconds"] == song["duration"] == 3.0
    plan, result = song["result"]["plan"], song["result"]
    assert (plan["tempo"], plan["key"], plan["duration"]) == (160.0, "A minor", 3.0)
    assert [(one["name"], one["start"], one["end"]) for one in result["sections"]] == [
        ("verse", 0.0, 1.5), ("chorus", 1.5, 3.0),
    ]  # fmt: skip
    names = [one["name"] for one in result["files"]]
    assert names == ["morning.acproj", "01-verse.wav", "02-chorus.wav"]
    for one in result["files"]:
        answer = client.get(f"/v1/generations/{song['id']}/files/{one['name']}")
        assert len(answer.content) == one["bytes"] and one["name"] in answer.headers["content-disposition"]
        (tmp_path / one["name"]).write_bytes(answer.content)
    assert read_song(tmp_path / "morning.acproj").tempo == 160.0
    assert soundfile.info(tmp_path / "01-verse.wav").frames == 1.5 * RATE
    audio = client.get(f"/v1/generations/{song['id']}/audio", params={"format": "flac", "download": True})
    assert "morning" in audio.headers["content-disposition"]
    kinds = [event["event"] for event in _events(client, song["id"])]
    assert kinds[0] == "queued" and "processing" in kinds and kinds[-1] == "succeeded"


def _events(client: TestClient, job: str) -> Iterator[dict[str, Any]]:
    for block in client.get(f"/v1/generations/{job}/events").text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            yield {"event": fields["event"], "data": json.loads(fields["data"])}


def test_what_was_asked_for_makes_the_same_song_again(client: TestClient) -> None:
    first = made(client, "/v1/songs", {key: value for key, value in SONG.items() if key != "seed"})
    again = made(client, "/v1/songs", first["request"])
    assert first["result"]["sha256"] == again["result"]["sha256"]


def test_only_the_section_that_changed_is_made_again(client: TestClient, engine: FakeEngine) -> None:
    first = made(client, "/v1/songs", SONG)
    engine.requests.clear()
    body = json.loads(json.dumps(first["request"]))
    body["sections"][1]["seed"] = 77
    second = made(client, "/v1/songs", {**body, "base": first["id"]})
    assert second["status"] == "succeeded" and prompts(engine) == ["strings and drums"]
    assert [one["fresh"] for one in second["result"]["sections"]] == [False, True]
    client.delete(f"/v1/generations/{first['id']}")  # the parts of the second are its own
    engine.requests.clear()
    third = made(client, "/v1/songs", {**body, "base": second["id"], "ending": "fade"})
    assert third["status"] == "succeeded"
    assert prompts(engine) == ["strings and drums"], "another ending is another last section"


def test_what_is_not_said_beside_a_base_is_as_it_was_there(client: TestClient, engine: FakeEngine) -> None:
    """Also what was drawn: a song that is asked for again in the same words stays, but for what was changed."""
    body: dict[str, Any] = {
        "sections": [
            {"name": "a", "prompt": "piano", "bars": 1},
            {"name": "b", "prompt": "strings", "bars": 1},
        ]
    }
    first = made(client, "/v1/songs", body)
    engine.requests.clear()
    body["sections"][1]["prompt"] = "flute"
    second = made(client, "/v1/songs", {**body, "base": first["id"]})
    assert [one["fresh"] for one in second["result"]["sections"]] == [False, True]
    assert prompts(engine) == ["flute"]
    same = ("seed", "tempo", "key", "chords", "beats_per_bar", "model")
    assert {name: second["request"][name] for name in same} == {name: first["request"][name] for name in same}
    body["sections"][0]["prompt"] = "piano, 70 bpm, D major"
    third = made(client, "/v1/songs", {**body, "base": first["id"]})["request"]
    assert (third["tempo"], third["key"], third["seed"]) == (70, "D major", first["request"]["seed"])
    other = made(client, "/v1/songs", {**body, "base": first["id"], "seed": 5, "tempo": 120})["request"]
    assert (other["seed"], other["tempo"]) == (5, 120)


def test_a_song_that_was_stopped_goes_on_with_its_parts(
    store: JobStore, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A worker dies when one part is there: the next one makes the other."""
    blobs = BlobStore(tmp_path / "files")
    blobs.prepare()
    store.lease = LeaseSettings(seconds=0.5, heartbeat=0.1, poll=0.02, rows=4)
    body = SongBody.model_validate({**SONG, "ending": None})
    body.sections[1].layers = []
    settled = body.settled(body.song(model="fake", sound_model="fake", seed=5))
    new = NewJob(
        id=new_id("gen"), owner="a", kind="song", model="fake", request=settled.model_dump(mode="json"), prompt="x",
        duration=2.0, seed=5,
    )  # fmt: skip
    job = store.submit(new)[0].id

    def worker() -> tuple[FakeEngine, Callable[[], None]]:
        engine = FakeEngine()
        dispatcher = Dispatcher(store, blobs, engine, lease=store.lease)
        dispatcher.start()
        return engine, lambda: dispatcher.stop(drain_seconds=0)

    engine, stop = worker()
    request.addfinalizer(stop)
    until(lambda: store.get(job).status == "succeeded")
    assert len(prompts(engine)) == 2
    for path in sorted(blobs.parts_of(job).glob("chorus*")):
        path.unlink()
    again = store.submit(
        NewJob(**{**{name: getattr(new, name) for name in NewJob.__dataclass_fields__}, "id": new_id("gen")})
    )[0].id
    blobs.use_parts(job, again)
    until(lambda: store.get(again).status == "succeeded")
    assert prompts(engine)[2:] == ["strings and drums"]
    first, second = store.get(job).result, store.get(again).result
    assert first is not None and second is not None and first["sha256"] == second["sha256"]


def test_a_canceled_song_ends_at_once_and_leaves_the_worker_free(
    client: TestClient, engine: FakeEngine
) -> None:
    body = json.loads(json.dumps(SONG))
    body["sections"][1]["prompt"] = "hang"
    job = client.post("/v1/songs", json=body).json()["id"]
    until_status(client, job, "processing")
    assert client.post(f"/v1/generations/{job}/cancel").json()["status"] == "canceled"
    answer = client.get(f"/v1/generations/{job}/files/morning.acproj")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert made(client, "/v1/songs", SONG)["status"] == "succeeded"


def test_a_song_that_fails_says_why_and_no_more(client: TestClient) -> None:
    body = json.loads(json.dumps(SONG))
    body["sections"][0]["prompt"] = "fail"
    song = made(client, "/v1/songs", body)
    assert song["status"] == "failed" and song["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(song)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"sections": []}, "sections", "at least 1"),
        ({"sections": [{"prompt": " "}]}, "sections", "each needs a prompt"),
        ({"sections": [{"name": "a", "prompt": "x"}, {"name": "a", "prompt": "y"}]}, "sections", "'a 2'"),
        ({"sections": [{"prompt": "80 bpm"}, {"prompt": "99 bpm"}], "tempo": None}, "sections", "one tempo"),
        ({"sections": [{"prompt": "x", "bars": 256}]}, "sections", "300 seconds"),
        ({"key": "H minor"}, "key", "H minor"),
        ({"tempo": 1000}, "tempo", "400"),
        ({"duration": 10}, "duration", "leave one out"),
        ({"chords": "Am Xx"}, "chords", "Xx"),
        ({"model": "plain"}, "model", "told no tempo"),
        ({"effects": [{"prompt": "thunder", "at": "bridge"}]}, "at", "bridge"),
        ({"base": "gen_00000000000000000000000000"}, "base", "no generation"),
        ({"sectoins": []}, "sectoins", "did you mean 'sections'"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_name(
    client: TestClient, change: dict[str, Any], field: str, words: str
) -> None:
    body = {**SONG, **({"tempo": 60} if "sections" in change else {}), **change}
    answer = client.post("/v1/songs", json=body)
    assert answer.status_code == 422, answer.text
    assert field in (answer.json()["field"] or "") and words in answer.json()["message"], answer.json()


def test_files_are_found_by_the_names_that_a_worker_gave(client: TestClient) -> None:
    song = made(client, "/v1/songs", SONG)
    for name in ("..%2f..%2fjobs.db", "audio-1.wav", "nothing"):
        answer = client.get(f"/v1/generations/{song['id']}/files/{name}")
        assert answer.status_code == 404, name
    piece = made(client, "/v1/generations", {"prompt": "x", "duration": 1.0})
    assert client.get(f"/v1/generations/{piece['id']}/files/a").status_code == 404


def test_the_same_key_is_the_same_song(client: TestClient) -> None:
    first, second = (
        client.post("/v1/songs", json=SONG, headers={"Idempotency-Key": "k"}).json()["id"] for _ in range(2)
    )
    assert first == second
    other = client.post("/v1/songs", json={**SONG, "seed": 6}, headers={"Idempotency-Key": "k"})
    assert other.json()["code"] == "idempotency_conflict"


def phrase(request: GenerationRequest) -> torch.Tensor:
    """Notes [1, N] that change four times a second, drawn with the seed: music that does not stand still."""
    count = round(request.duration * fakes.RATE)
    draw = torch.Generator().manual_seed((request.seeds or (0,))[0])
    notes = torch.randint(0, 12, (count // (fakes.RATE // 4) + 1,), generator=draw)
    time = torch.arange(count) / fakes.RATE
    hertz = 220 * 2 ** (notes[(4 * time).long()] / 12)
    return (0.3 * torch.sin(2 * torch.pi * hertz * time) * (1 - (4 * time) % 1) ** 2)[None]


@pytest.fixture
def music(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake makes phrases."""
    monkeypatch.setattr(fakes, "audio_of", phrase)


def piece(client: TestClient, seconds: float = 6.0) -> str:
    """A finished piece with a plan of 120 bpm."""
    chords = [
        {"at": float(at), "chord": chord} for at, chord in zip(range(0, 6, 2), ("Am", "F", "C"), strict=True)
    ]
    plan = {"tempo": 120, "key": "A minor", "chords": chords}
    body = {"prompt": "piano", "duration": seconds, "seed": 3, "plan": plan, "fade": 0}
    found = made(client, "/v1/generations", body)
    assert found["status"] == "succeeded", found
    return str(found["id"])


@pytest.mark.usefixtures("music")
@pytest.mark.parametrize(
    "body",
    [
        {"edit": "redo", "region": {"start": 2, "end": 4}, "prompt": "violin, no drums"},
        {"edit": "extend", "after": 1, "prompt": "violin, no drums"},
        {"edit": "end", "prompt": "violin, no drums"},
        {"edit": "loop", "bars": 1},
    ],
    ids=lambda body: body["edit"],
)
@pytest.mark.parametrize("own", [True, False], ids=["own", "upload"])
def test_answers_say_what_was_understood_of_an_edit(
    client: TestClient, body: dict[str, Any], own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ScorePlan(tempo=120, key="A minor", chords=((0.0, "Am"), (2.0, "F"), (4.0, "C")), duration=6.0)
    monkeypatch.setattr(edits, "heard_plan", lambda *_, **__: plan)
    audio: dict[str, Any] = {"generation": piece(client)}
    if not own:
        content = client.get(f"/v1/generations/{audio['generation']}/audio").content
        audio = {"data": base64.b64encode(content).decode()}
    found = made(client, "/v1/edits", {**body, "audio": audio, "seed": 5})
    assert found["status"] == "succeeded", found
    told = found["understood"]
    assert (round(told["tempo"]), told["key"], told["seed"]) == (120, "A minor", 5)
    assert told["duration"] == pytest.approx(found["audio"]["seconds"], abs=1e-3)
    assert told["line"].startswith(f"{told['duration']:g} s  {told['tempo']:g} bpm  A minor")
    assert told["chords"] and told["denied"] == ([] if body["edit"] == "loop" else ["drums"])


def samples(client: TestClient, job: str) -> Any:
    content = client.get(f"/v1/generations/{job}/audio").content
    return soundfile.read(io.BytesIO(content), dtype="int16")[0]


@pytest.mark.usefixtures("music")
def test_a_region_is_made_anew_and_the_rest_stays_bit_for_bit(client: TestClient, engine: FakeEngine) -> None:
    source = piece(client)
    region = {"start": 2.0, "end": 4.0}
    found = made(
        client, "/v1/edits", {"edit": "redo", "audio": {"generation": source}, "region": region, "seed": 9}
    )
    assert found["status"] == "succeeded", found["error"]
    assert found["kind"] == "edit" and found["prompt"] == "piano" and found["result"]["changed"] == [2.0, 4.0]
    before, after = samples(client, source), samples(client, found["id"])
    assert len(before) == len(after)
    assert (before[: 2 * RATE] == after[: 2 * RATE]).all() and (before[4 * RATE :] == after[4 * RATE :]).all()
    assert (before[2 * RATE : 4 * RATE] != after[2 * RATE : 4 * RATE]).any()
    asked = engine.requests[-1]
    assert asked.plans and asked.plans[0] is not None and asked.plans[0].tempo == 120.0, (
        "the plan of one's own piece is known"
    )


@pytest.mark.usefixtures("music")
@pytest.mark.parametrize(
    ("edit", "seconds"),
    [({"edit": "extend", "after": 2}, 10.0), ({"edit": "extend", "before": 1}, 8.0),
     ({"edit": "end", "bars": 1}, 8.0), ({"edit": "loop", "bars": 2}, 4.0),
     ({"edit": "restyle", "prompt": "house"}, 6.0)],
    ids=["after", "before", "end", "loop", "restyle"],
)  # fmt: skip
def test_edits_are_of_whole_bars(client: TestClient, edit: dict[str, Any], seconds: float) -> None:
    source = piece(client)
    found = made(client, "/v1/edits", {**edit, "audio": {"generation": source}})
    assert found["status"] == "succeeded", found["error"]
    assert found["duration"] == pytest.approx(seconds, abs=1e-3) == found["audio"]["seconds"]
    assert found["result"]["plan"]["tempo"] == pytest.approx(120.0)
    if edit["edit"] == "loop":
        content = client.get(f"/v1/generations/{found['id']}/audio", params={"format": "wav"}).content
        assert b"smpl" in content and b"acid" in content


@pytest.mark.usefixtures("music")
def test_a_podcast_has_chapters_and_its_loudness(client: TestClient, tmp_path: Path) -> None:
    voice = io.BytesIO()
    soundfile.write(
        voice,
        phrase(GenerationRequest(prompts=("x",), duration=6.0, seeds=(4,)))[0].numpy(),
        RATE,
        format="WAV",
    )
    upload = client.post("/v1/uploads", files={"file": ("voice.wav", voice.getvalue())}).json()["id"]
    body = {
        "voice": {"upload": upload}, "theme": "science", "intro": 2, "outro": 2, "metadata": {"title": "One"},
        "chapters": [{"start": 0, "title": "Welcome"}, {"start": 3, "title": "Questions"}],
    }  # fmt: skip
    found = made(client, "/v1/podcasts", body)
    assert found["status"] == "succeeded", found["error"]
    result = found["result"]
    assert result["loudness"] == pytest.approx(-16, abs=0.5) and result["true_peak"] <= -0.99
    assert [one["title"] for one in result["chapters"]] == ["Welcome", "Questions"]
    content = client.get(f"/v1/generations/{found['id']}/files/episode.mp3").content
    assert b"CHAP" in content[:4096] and found["audio"]["channels"] == 2
    late = client.post("/v1/podcasts", json={**body, "chapters": [{"start": 60, "title": "Late"}]})
    assert (late.status_code, late.json()["field"]) == (422, "chapters")


@pytest.mark.usefixtures("music")
def test_a_bank_is_an_archive_and_a_piece_through_its_tension(client: TestClient) -> None:
    body = {"locations": ["forest"], "environments": [], "bars": 1, "tempo": 120, "key": "D minor", "stingers": False,
            "format": "wav", "metadata": {"title": "Elm"}, "seed": 2}  # fmt: skip
    found = made(client, "/v1/banks", body)
    assert found["status"] == "succeeded", found["error"]
    content = client.get(f"/v1/generations/{found['id']}/files/bank.zip").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        bank = json.loads(archive.read("elm/bank.json"))
    assert {"elm/index.html", "elm/player.js", "elm/music.tres"} <= set(names)
    assert bank["tempo"] == pytest.approx(120) and len(bank["states"]) == 4
    assert [one["name"] for one in found["result"]["sections"]] == ["calm", "alert", "tense", "battle"]
    assert found["audio"]["seconds"] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"edit": "redo"}, "region"), ({"edit": "redo", "region": {"start": 1, "end": 1.2}}, "region"),
        ({"edit": "extend"}, "after"), ({"edit": "extend", "after": 1, "before": 1}, "after"),
        ({"edit": "loop", "region": {"start": 0, "end": 2}}, "region"), ({"edit": "restyle"}, "prompt"),
        ({"edit": "paint"}, "edit"), ({"edit": "end", "model": "plain"}, "model"),
        ({"edit": "redo", "region": {"start": 5, "end": 7}}, "region"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.usefixtures("music")
def test_an_edit_that_cannot_be_is_refused_by_its_name(
    client: TestClient, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/edits", json={"audio": {"generation": piece(client)}, **body})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.json()


@pytest.mark.usefixtures("music")
def test_the_client_asks_for_all_of_it(client: TestClient, tmp_path: Path) -> None:
    pytest.importorskip("httpx2")
    from audiocraft.client import Client

    voice = tmp_path / "voice.wav"
    soundfile.write(
        voice, phrase(GenerationRequest(prompts=("x",), duration=3.0, seeds=(4,)))[0].numpy(), RATE
    )
    with Client("http://testserver", transport=client._transport, retries=1) as remote:
        song = remote.wait(remote.song([{"name": "a", "prompt": "x", "bars": 1}], tempo=160, key="A minor"))
        again = remote.wait(remote.song([{"name": "a", "prompt": "y", "bars": 1}], tempo=160, base=song))
        assert song.kind == "song" and again.result is not None and song.result is not None
        name = song.result["files"][0]["name"]
        assert remote.download_file(song, name, tmp_path / name).read_bytes() == remote.file(song, name)
        longer = remote.wait(remote.edit(song, "extend", after=1, seed=2))
        assert longer.duration == pytest.approx(2 * song.duration)
        episode = remote.wait(
            remote.podcast(voice, theme="calm", intro=0, outro=0, bed=False, transitions=False)
        )
        assert episode.kind == "podcast" and remote.file(episode, "episode.mp3")
        assert remote.bank(["neutral"], bars=1, stingers=False).kind == "bank"
