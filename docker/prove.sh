#!/usr/bin/env bash
# Does what the image does, without a container engine: builds the wheel, installs it with its extras into a fresh
# virtual environment, starts the server as the image starts it, waits until it is ready, makes one sound, asks for
# health and metrics, stops it with SIGTERM and looks at its exit code.
#
#   docker/prove.sh [PYTHON]      KEEP=1 leaves the folder; PATIENCE=seconds until it must be ready, 300;
#                                 PIP_INDEX_URL and the like are pip's own
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
work=$(mktemp -d "${TMPDIR:-/tmp}/audiocraft-prove-XXXXXX")
server=""
cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

say() { printf '== %s\n' "$*"; }

say "a clean copy of what the image is built from"
mkdir "$work/src"
(cd "$root" && git ls-files api audiocraft config LICENSE README.md constraints.txt pyproject.toml) |
    (cd "$root" && tar --create --files-from=- --file=-) | tar --extract --file=- --directory="$work/src"

say "wheel"
"$python" -m venv "$work/build"
"$work/build/bin/pip" install --quiet --disable-pip-version-check build
(cd "$work/src" && "$work/build/bin/python" -m build --wheel --outdir "$work/wheels" >"$work/wheel.log" 2>&1) ||
    { cat "$work/wheel.log"; exit 1; }
wheel=$(echo "$work"/wheels/*.whl)
say "$(du -h "$wheel" | cut -f1) $(basename "$wheel")"

say "fresh environment"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" \
    "${wheel}[serve,postgres,hub,analysis]"

say "server"
export AUDIOCRAFT_API_KEY=$("$python" -c 'import secrets; print(secrets.token_hex(24))')
export AUDIOCRAFT_DATA_DIR="$work/data" AUDIOCRAFT_CACHE_DIR="$work/models" HF_HUB_OFFLINE=1
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$work/empty"
(cd "$work/empty" && exec "$work/venv/bin/audiocraft" serve --host 0.0.0.0 --port "$port" --log-format json) \
    >"$work/server.log" 2>&1 &
server=$!

"$work/venv/bin/python" - "http://127.0.0.1:$port" "$work/sound.wav" "$server" <<'PYTHON' || { tail -n 30 "$work/server.log"; exit 1; }
import json
import os
import sys
import time
import urllib.error
import urllib.request

address, target, server = sys.argv[1], sys.argv[2], int(sys.argv[3])
key = os.environ["AUDIOCRAFT_API_KEY"]
patience = float(os.environ.get("PATIENCE", "300"))


def ask(path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(address + path, data, sent)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.status, answer.read()


begun = time.monotonic()
while True:
    os.kill(server, 0)
    try:
        status, text = ask("/readyz")
        break
    except (urllib.error.URLError, ConnectionError) as error:
        if time.monotonic() - begun > patience:
            raise SystemExit(f"not ready after {patience:g} s: {error}")
        time.sleep(0.5)
print("ready", text.decode())
try:
    ask("/v1/models")
    raise SystemExit("the server answered without a key")
except urllib.error.HTTPError as error:
    assert error.code == 401, error.code
signed = {"Authorization": f"Bearer {key}"}
deadline = time.monotonic() + 600
status, text = ask("/v1/generations", {"prompt": "calm piano, 90 bpm", "duration": 2.0, "seed": 1}, Prefer="wait=60", **signed)
job = json.loads(text)
while job["status"] not in ("succeeded", "failed", "canceled") and time.monotonic() < deadline:
    time.sleep(1.0)
    job = json.loads(ask(f"/v1/generations/{job['id']}", **signed)[1])
assert job["status"] == "succeeded", job
audio = ask(f"/v1/generations/{job['id']}/audio", **signed)[1]
assert audio[:4] == b"RIFF" and len(audio) > 44, len(audio)
open(target, "wb").write(audio)
assert b"audiocraft_generation_seconds_count" in ask("/metrics", **signed)[1]
print("sound of", len(audio), "bytes")
PYTHON

say "SIGTERM"
kill -TERM "$server"
code=0
wait "$server" || code=$?
server=""
[ "$code" = 0 ] || { tail -n 30 "$work/server.log"; echo "exit code $code"; exit 1; }
python3 - "$work/server.log" <<'PYTHON'
import json
import sys

lines = [line for line in open(sys.argv[1], encoding="utf-8") if line.startswith("{")]
assert lines, "no log lines"
assert all("time" in json.loads(line) for line in lines)
print(len(lines), "log lines, all JSON")
PYTHON
say "proven: wheel, install, ready, one sound, clean stop"
