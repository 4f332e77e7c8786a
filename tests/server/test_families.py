"""Four families behind one server: each samples as it was made for, keeps and follows what it can, refuses what it
cannot in words, and in company makes what it makes alone."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

import soundfile
from fastapi.testclient import TestClient

from audiocraft.audio.finishing import finished
from audiocraft.client import Client
from audiocraft.config.serving import LeaseSettings, ServingConfig
from audiocraft.generation.batching import Batch
from audiocraft.models.loaders import load_model
from audiocraft.music.midi import midi_of
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.app import create_app
from audiocraft.server.worker.local_engine import LocalEngine
from audiocraft.server.worker.requests import to_request
from audiocraft.types import ScorePlan
from tests import tiny_flow, tiny_magnet

from .test_app import wav_bytes

OF_MAGNET = {"temperature": 3.0, "top_k": 0, "top_p": 0.9, "guidance": 3.0, "decoding_steps": [4, 2]}


NOTE = {"at": 0.0, "until": 1.0, "pitch": 60}


def midi(tempo: int | None = None) -> str:
    """Two chords within a second, in base64."""
    plan = ScorePlan(tempo=120, chords=((0.0, "C"), (0.5, "Am")), duration=1.0)
    data = midi_of(plan)
    if tempo is not None:
        place = data.index(b"\xff\x51\x03") + 3
        data = data[:place] + tempo.to_bytes(3, "big") + data[place + 3 :]
    return base64.b64encode(data).decode()


class Server:
    """A server with a masked model, a flow, a MusicGen and an AudioGen."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def ask(self, **body: Any) -> Any:
        return self.client.post("/v1/generations", json={"prompt": "rain", "seed": 3, **body})

    def made(self, *answers: Any) -> list[dict[str, Any]]:
        """The pieces of these answers, once they have ended well."""
        found = []
        for answer in answers:
            assert answer.status_code in (200, 202), answer.text
            piece, deadline = answer.json(), time.monotonic() + 300
            while piece["status"] in ("queued", "starting", "processing") and time.monotonic() < deadline:
                time.sleep(0.02)
                piece = self.client.get(f"/v1/generations/{piece['id']}").json()
            assert piece["status"] == "succeeded", piece
            found.append(piece)
        return found

    def refused(self, **body: Any) -> tuple[str, str]:
        """The field and the words of a refusal."""
        answer = self.ask(**body)
        assert answer.status_code == 422, answer.text
        told = answer.json()
        assert "\n" not in told["message"]
        return told["field"], told["message"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("families")
    tiny_magnet.write(folder / "tiny" / "magnet")
    tiny_flow.written(folder / "tiny" / "jasco")
    config = ServingConfig(
        data_dir=str(folder / "data"), hosts=("testserver",), preload=(), lease=LeaseSettings(poll=0.02),
        models=("musicgen-nano", "audiogen-nano", "tiny/magnet", "tiny/jasco"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with TestClient(create_app(LocalEngine.create(rows=16, watermark=False), config)) as client:
            yield Server(client)


def digest(piece: dict[str, Any]) -> str:
    found = piece["result"]["sha256"]
    assert isinstance(found, str)
    return found


def data(seconds: float, rate: int = 32000) -> dict[str, str]:
    return {"data": base64.b64encode(wav_bytes(seconds, rate)).decode()}


def test_each_model_says_its_own_settings(server: Server) -> None:
    listed = {entry["id"]: entry for entry in server.client.get("/v1/models").json()["data"]}
    assert listed["musicgen-nano"]["settings"] == {"temperature": 1.0, "top_k": 250, "top_p": 0.0}
    magnet, jasco = listed["tiny/magnet"], listed["tiny/jasco"]
    assert {name: magnet["settings"][name] for name in OF_MAGNET} == OF_MAGNET
    assert magnet["guidance"] == 3.0
    assert jasco["settings"]["flow_solver"] == "midpoint" and "temperature" not in jasco["settings"]


def test_what_is_not_said_suits_the_model(server: Server) -> None:
    """A stored job holds what was said; defaults of one family would have another one sample otherwise than alone."""
    plain, said, other = server.made(
        server.ask(model="tiny/magnet", duration=1.0),
        server.ask(model="tiny/magnet", duration=1.0, **{k: v for k, v in OF_MAGNET.items() if k != "top_k"}),
        server.ask(model="tiny/magnet", duration=1.0, temperature=1.0, top_k=250, top_p=0.0),
    )
    assert plain["request"]["temperature"] is None and plain["request"]["decoding_steps"] is None
    assert digest(plain) == digest(said) != digest(other)
    alone = load_model("tiny/magnet").run(to_request(GenerationBody.model_validate(plain["request"])))
    found, rate = soundfile.read(
        io.BytesIO(server.client.get(f"/v1/generations/{plain['id']}/audio").content), dtype="float32"
    )
    assert abs(found - finished(alone.audio[0], rate)[0].numpy()).max() < 1e-3


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"model": "musicgen-nano", "decoding_steps": [4]}, "decoding_steps", "MAGNeT"),
        ({"model": "tiny/magnet", "flow_steps": 4}, "flow_steps", "JASCO"),
        (
            {"model": "tiny/jasco", "flow_steps": 4, "flow_solver": "dopri5"},
            "flow_steps",
            "flow_steps 4 says nothing",
        ),
        ({"model": "tiny/jasco", "flow_atol": 0.01}, "flow_atol", "add flow_solver dopri5"),
        ({"model": "tiny/jasco", "top_k": 250}, "top_k", "MusicGen"),
        ({"model": "tiny/jasco", "rescorer": "musicgen-nano"}, "rescorer", "MAGNeT"),
        ({"model": "tiny/magnet", "rescorer": "tiny/jasco"}, "rescorer", "judges no codes"),
        ({"model": "tiny/magnet", "decoding_steps": [0]}, "decoding_steps", "greater than or equal to 1"),
        ({"model": "tiny/magnet", "decoding_steps": []}, "decoding_steps", "at least 1"),
        ({"model": "musicgen-nano", "chords": [[0, "C"]]}, "chords", "takes no chords"),
        ({"model": "tiny/jasco", "chords": [[0, "H#sus99"]]}, "chords", "H#sus99"),
        ({"model": "tiny/jasco", "chords": "C | H#sus99", "bpm": 120}, "chords", "H#sus99"),
        ({"model": "tiny/jasco", "chords": "C | Am F"}, "chords", "need a tempo"),
        ({"model": "tiny/jasco", "chords": [[1, "C"], [0.5, "F"]]}, "chords", "ascending"),
        ({"model": "tiny/jasco", "chords": [[0, "C"], [7, "F"]], "duration": 2.0}, "chords", "begins at 7 s"),
        (
            {"model": "musicgen-nano", "keep": [[0, 1]], "audio": data(2.0)},
            "keep",
            "from their start to their end",
        ),
        ({"model": "tiny/magnet", "keep": [[0, 1]]}, "keep", "give the audio"),
        ({"model": "tiny/magnet", "keep": [[0, 1.5], [1, 2]], "audio": data(3.0)}, "keep", "overlap"),
        (
            {"model": "tiny/magnet", "keep": [[1, 9]], "audio": data(3.0), "duration": 4.0},
            "keep",
            "not inside the piece",
        ),
        (
            {"model": "tiny/magnet", "keep": [[1, 3]], "audio": data(2.0), "duration": 4.0},
            "keep",
            "not inside the audio",
        ),
        (
            {"model": "tiny/magnet", "keep": [[0, 2]], "audio": data(2.0), "duration": 2.0},
            "keep",
            "leaves nothing",
        ),
        ({"model": "tiny/magnet", "audio": data(2.0)}, "audio", "keep regions"),
        ({"model": "musicgen-nano", "drums": data(1.0)}, "drums", "follows no drums"),
        ({"model": "tiny/magnet", "tune": data(1.0)}, "tune", "follows no notes"),
        ({"model": "tiny/jasco", "tune": {"data": "%%%"}}, "tune.data", "base64"),
        ({"model": "tiny/jasco", "tune": {"midi": "%%%"}}, "tune", "tune.midi: it is not valid base64"),
        ({"model": "tiny/jasco", "tune": {"midi": midi(), "data": midi()}}, "tune.midi", "no such field"),
        ({"model": "tiny/jasco", "chords": {"midi": midi(tempo=0)}}, "chords", "a tempo of no length"),
        ({"model": "tiny/jasco", "chords": {"midi": 7}}, "chords", "base64 text"),
        ({"model": "tiny/jasco", "chords": {"midi": midi()}, "sections": 5}, "sections", "list"),
        (
            {"model": "tiny/jasco", "tune": {"midi": midi()}, "duration": "long"},
            "tune",
            "while duration is 'long'",
        ),
        ({"model": "tiny/jasco", "tune": {"midi": midi()}, "notes": [NOTE]}, "tune", "given twice"),
        ({"model": "tiny/jasco", "tune": data(1.0), "notes": [NOTE]}, "notes", "given twice"),
        ({"model": "tiny/jasco", "notes": [{**NOTE, "until": 0}]}, "notes", "begins at 0 s and ends at 0 s"),
        ({"model": "tiny/jasco", "notes": [{**NOTE, "pitch": 128}]}, "notes", "127"),
        (
            {"model": "tiny/jasco", "notes": [{**NOTE, "at": 5, "until": 6}], "duration": 5.0},
            "notes",
            "begins at 5 s",
        ),
        ({"model": "tiny/magnet", "tune": {"midi": midi()}}, "notes", "follows no notes"),
        ({"model": "tiny/magnet", "chords": {"midi": midi()}}, "chords", "takes no chords"),
        ({"model": "tiny/jasco", "drums": {"upload": "upl_" + "0" * 26}}, "drums.upload", "no upload"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    server: Server, body: dict[str, Any], field: str, said: str
) -> None:
    found, words = server.refused(**body)
    assert (found.split(".")[0] if "." not in field else found) == field
    assert said in words


def test_regions_of_an_own_piece_stay_while_the_rest_is_made_anew(server: Server) -> None:
    (first,) = server.made(server.ask(model="tiny/magnet", duration=2.0))
    (redone,) = server.made(
        server.ask(
            model="tiny/magnet",
            duration=2.0,
            seed=4,
            keep=[[0, 0.8], [1.6, 2.0]],
            audio={"generation": first["id"]},
        )
    )
    audio = [
        soundfile.read(io.BytesIO(server.client.get(f"/v1/generations/{piece['id']}/audio").content))[0]
        for piece in (first, redone)
    ]
    assert redone["request"]["keep"] == [{"start": 0.0, "end": 0.8}, {"start": 1.6, "end": 2.0}]
    assert len(audio[0]) == len(audio[1])
    middle = slice(int(0.9 * 32000), int(1.5 * 32000))
    assert abs(audio[0][middle] - audio[1][middle]).max() > 1e-3  # made anew
    for kept in (slice(0, int(0.77 * 32000)), slice(int(1.63 * 32000), None)):
        assert (audio[0][kept] == audio[1][kept]).all()


def test_what_keeps_regions_is_as_long_as_their_audio(server: Server) -> None:
    asked = {"model": "tiny/magnet", "keep": [[0, 0.8], [1.6, 2.4]]}
    (found,) = server.made(server.ask(**asked, audio=data(2.4)))
    assert found["duration"] == found["request"]["duration"] == found["audio"]["seconds"] == 2.4
    for keep, said in (([[0, 2.4]], "leaves nothing"), ([[0, 1], [2, 9]], "not inside")):
        field, words = server.refused(**{**asked, "keep": keep}, audio=data(2.4))
        assert field == "keep" and said in words and "2.4 s" in words


def test_chords_drums_and_a_tune_are_followed_in_one_job(server: Server) -> None:
    asked = {"model": "tiny/jasco", "duration": 1.0, "flow_steps": 2}
    inputs = {"drums": data(1.0, 24000), "tune": data(1.0, 24000)}
    plain, bars, times, pairs, all_of_it = server.made(
        server.ask(**asked),
        server.ask(**asked, chords="C Am | C", bpm=240),
        server.ask(**asked, chords="C:0 Am:0.5"),
        server.ask(**asked, chords=[["C", 0], ["Am", 0.5]]),
        server.ask(**asked, chords=[[0, "C"], [0.5, "Am"]], **inputs),
    )
    assert bars["request"]["plan"]["chords"] == ["C", "Am", "|", "C", "|"]
    assert bars["request"]["plan"]["tempo"] == 240 and bars["request"]["chords"] == []
    assert digest(bars) == digest(times) == digest(pairs)
    assert len({digest(plain), digest(bars), digest(all_of_it)}) == 3
    assert set(all_of_it["request"]["tune"]) == {"upload", "generation", "data"}
    assert all_of_it["request"]["tune"]["data"] is None  # kept once, as an upload


def test_bars_lie_in_the_plan_of_a_model_that_takes_one(server: Server) -> None:
    """So their tempo is that of the piece, whoever says it."""
    asked = {"model": "musicgen-nano", "prompt": "rock, 140 bpm", "duration": 3.0, "chords": "C | Am F"}
    words, set_ = server.made(server.ask(**asked), server.ask(**asked, bpm=100))
    assert [words["result"]["plan"]["tempo"], set_["result"]["plan"]["tempo"]] == [140, 100]
    second = set_["result"]["plan"]["chords"][1][0]
    assert second == pytest.approx(4 * 60 / 100)
    assert set_["request"]["bpm"] is None  # the plan has it, and may go on in another tempo
    assert server.refused(**asked, bpm=100, plan={"tempo": 150})[0] == "bpm"
    assert server.refused(**asked, bpm=1000)[0] == "bpm"
    assert "leave out plan, bpm" in server.refused(model="audiogen-nano", bpm=100)[1]
    assert server.refused(**asked, plan={"chords": "C G"})[0] == "chords"


def test_a_midi_file_is_followed_as_what_it_says(server: Server, tmp_path: Path) -> None:
    """It is stored as chords and notes, which ask for the same; and `Client` takes its path."""
    asked = {"model": "tiny/jasco", "duration": 1.0, "flow_steps": 2}
    file = tmp_path / "song.MID"
    file.write_bytes(base64.b64decode(midi()))
    (of_file,) = server.made(server.ask(**asked, chords={"midi": midi()}, tune={"midi": midi()}))
    request = of_file["request"]
    assert [one["chord"] for one in request["chords"]] == ["C", "Am"] and request["tune"] is None
    assert {one["pitch"] for one in request["notes"]} >= {36, 60} and "midi" not in json.dumps(request)
    with Client("http://testserver", transport=server.client._transport) as client:
        by_path = client.generate("rain", seed=3, chords=file, tune=str(file), **asked)
    (as_said,) = server.made(server.ask(**asked, chords=request["chords"], notes=request["notes"]))
    (plain,) = server.made(server.ask(**asked))
    assert digest(of_file) == digest(dict(by_path.raw)) == digest(as_said) != digest(plain)


def test_eight_at_once_are_each_as_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests of each family, of other lengths, give the files that each gives alone, while passes are shared."""
    bodies = [
        {"model": model, "duration": seconds, "seed": seed, "prompt": prompt}
        for model, prompt in (
            ("musicgen-nano", "calm piano, 90 bpm"), ("audiogen-nano", "rain"), ("tiny/magnet", "jazz"),
            ("tiny/jasco", "folk"),
        )
        for seconds, seed in ((0.6, 1), (1.0, 2))
    ]  # fmt: skip
    alone = [digest(server.made(server.ask(**body))[0]) for body in bodies]
    shared: list[int] = []
    run_group = Batch._run_group

    def noted(self: Batch, key: Any, members: Any) -> None:
        shared.append(len(members))
        run_group(self, key, members)

    monkeypatch.setattr(Batch, "_run_group", noted)
    together = server.made(*[server.ask(**body) for body in bodies])
    assert [digest(piece) for piece in together] == alone
    assert max(shared) >= 2
