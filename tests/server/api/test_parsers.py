"""Everything that reads what strangers wrote: any bytes and any words give a value or a refusal, never a crash."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from audiocraft.data.audio_dataset import load_audio_meta
from audiocraft.errors import AudioCraftError, InvalidInput
from audiocraft.music.harmony import find_key, find_tempo, parse_chord, parse_key
from audiocraft.server.api.schemas import GenerationBody
from audiocraft.server.security import decode_child
from audiocraft.server.worker.requests import to_request

from ..security.test_sandbox import file_of

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", None),
]
# All files in one process: starting one for each takes longer than reading them.
_READER = """
import base64, json, sys, tempfile
sys.path.insert(0, sys.argv[1])
import decode_child
limits = json.loads(sys.argv[2])
for line in sys.stdin:
    with tempfile.NamedTemporaryFile() as source, tempfile.NamedTemporaryFile() as target:
        source.write(base64.b64decode(line)); source.flush()
        found = decode_child.main(source.name, target.name, limits)
        assert found.get("refused") in ("unsupported", "too_large") or found["samples"] > 0, found
        sys.stdout.write(json.dumps(found) + "\\n")
"""


def damaged(content: bytes, choose: np.random.Generator) -> bytes:
    """A file with some bytes changed, most of them in its head; cut short, or with a part repeated."""
    found = bytearray(content)
    for _ in range(int(choose.integers(1, 8))):
        head = choose.random() < 0.7
        at = int(choose.integers(min(200, len(found)) if head else len(found)))
        found[at] = int(choose.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, int(choose.integers(256))]))
    match int(choose.integers(4)):
        case 0:
            return bytes(found[: int(choose.integers(1, len(found)))])
        case 1:
            at = int(choose.integers(len(found)))
            return bytes(found[:at] + found[at // 2 : at] + found[at:])
    return bytes(found)


def test_damaged_files_are_read_or_refused_within_small_limits() -> None:
    tone = (np.sin(np.arange(24000) * 0.05) * 0.5).astype(np.float32)
    choose = np.random.default_rng(0)
    wholes = [file_of(tone, 24000, *form) for form in FORMATS]
    files = [damaged(whole, choose) for whole in wholes for _ in range(30)]
    limits = {
        "memory": 2**29, "cpu_seconds": 60, "decoded_bytes": 2**24, "seconds": 60.0, "channels": 2,
        "min_rate": 8000, "max_rate": 192_000,
    }  # fmt: skip
    folder = str(Path(decode_child.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", _READER, folder, json.dumps(limits)],
        input="".join(base64.b64encode(file).decode() + "\n" for file in files),
        capture_output=True, text=True, timeout=300, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(files)
    assert any("refused" in answer for answer in answers) and any("kind" in answer for answer in answers)


WORDS = st.text(max_size=12) | st.text("ABCDEFGabcdefgm#b♯♭0123456789/()susdimaugmajin -", max_size=12)


@settings(max_examples=300, deadline=None)
@given(WORDS)
def test_any_words_are_a_chord_and_a_key_or_none(text: str) -> None:
    for read in (parse_chord, parse_key):
        with suppress(InvalidInput):
            read(text)
    found = find_tempo(text)
    assert found is None or found > 0
    find_key(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PLANS = JSON | st.fixed_dictionaries(
    {"tempo": st.floats(20, 400)},
    optional={
        "key": WORDS, "beats_per_bar": st.integers(-1, 20), "first_beat": st.floats(-70, 70),
        "chords": st.lists(st.fixed_dictionaries({"at": st.floats(-1, 100), "chord": WORDS}), max_size=4),
    },
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(PLANS)
def test_any_plan_is_kept_or_refused(plan: object) -> None:
    try:
        body = GenerationBody.model_validate({"prompt": "x", "plan": plan})
    except ValidationError:
        return
    with suppress(InvalidInput):
        to_request(body)


@settings(max_examples=100, deadline=None)
@given(st.lists(JSON.map(json.dumps) | st.text(max_size=20), max_size=3), st.binary(max_size=20))
def test_any_manifest_is_read_or_refused_by_line(lines: list[str], tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("data.jsonl", "data.jsonl.gz"):
            path = Path(folder, name)
            path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + tail)
            with suppress(AudioCraftError):
                load_audio_meta(path)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_json_is_refused_by_the_parser(depth: int) -> None:
    with pytest.raises(ValidationError):
        GenerationBody.model_validate_json('{"prompt":' + "[" * depth + "]" * depth + "}")
