"""Requests made from the description of the interface, valid and broken: no 5xx, and every answer as described.

AUDIOCRAFT_FUZZ_EXAMPLES sets how many per operation; 300 make more than five thousand, which is checked and printed.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from audiocraft.config.serving import LeaseSettings, QueueLimits, ServingConfig, UploadLimits
from audiocraft.server.app import create_app
from audiocraft.server.catalogue import Catalogue

from ..fakes import FACTS, FakeEngine
from ..test_app import wav_bytes

httpx = pytest.importorskip("httpx2")
schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = int(os.environ.get("AUDIOCRAFT_FUZZ_EXAMPLES", "2"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The interface of a server that never says it is full."""
    config = ServingConfig(
        data_dir=str(tmp_path_factory.mktemp("fuzz")), music_model="fake", codec_model="codec", preload=(),
        lease=LeaseSettings(poll=0.02), queue=QueueLimits(queued=10**6, queued_per_owner=10**6),
    )  # fmt: skip
    config = replace(config, upload=replace(UploadLimits(), kept_files=10**6))
    app = create_app(FakeEngine(), config, catalogue=Catalogue(config, models=FACTS))
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.config.port}/openapi.json")
    server.should_exit = True
    thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


MODES = schemathesis.GenerationMode
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def real_ids(api: Any) -> dict[str, str]:
    """What parameters of paths may be called so that there is something behind them."""
    address = api.location.removesuffix("/openapi.json")
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        body = {"prompt": "calm", "duration": 0.5}
        piece = client.post("/v1/generations", json=body, headers={"Prefer": "wait=30"}).json()
        upload = client.post("/v1/uploads", files={"file": ("a.wav", wav_bytes())}).raise_for_status().json()
    return {"job": piece["id"], "upload": upload["id"], "model": "plain"}


def existing(case: Any, real: Mapping[str, str]) -> Any:
    """A case about something that exists: an invented name leads nowhere."""
    for name in {*real} & {*(case.path_parameters or {})}:
        case.path_parameters[name] = real[name]
    return case


@pytest.mark.parametrize("mode", [MODES.POSITIVE, MODES.NEGATIVE])
def test_every_answer_is_as_described(api: Any, mode: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # What the description allows may still not fit together, such as a melody for a model without ears: 422 then.
    left_out = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    answers: Counter[int] = Counter()
    real: dict[str, str] = {}
    for found in api.get_all_operations():
        operation = found.ok()
        cases = operation.as_strategy(generation_mode=mode)
        if mode is MODES.POSITIVE and not real:
            real = real_ids(api)

        @QUIET
        @given(cases)
        def answered(case: Any) -> None:
            about = existing(case, real) if answers.total() % 2 else case  # noqa: B023 - called in this turn of the loop
            answer = about.call()
            answers[answer.status_code] += 1
            about.validate_response(answer, excluded_checks=left_out)

        try:
            answered()
        except Unsatisfiable:
            continue  # an operation that nothing can be wrong with
        if operation.method.upper() not in ("GET", "HEAD"):
            real = {}  # it may be gone
    assert answers and not [status for status in answers if status >= 500]
    if EXAMPLES >= 300:
        assert answers.total() >= 2500
        with capsys.disabled():
            sys.stdout.write(f"\n{answers.total()} requests: {dict(sorted(answers.items()))}\n")
