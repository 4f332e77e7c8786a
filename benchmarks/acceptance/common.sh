# Sourced by the scripts beside it: where the project is, its Python, a folder that goes with the script, and clips of the corpus.
set -eu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
export PYTHONPATH=$ROOT HF_HUB_OFFLINE=1
PY=$ROOT/.venv/bin/python
OUT=$(mktemp -d /tmp/acceptance-XXXXXX)
trap 'rm -rf "$OUT"' EXIT
CLIPS=${CLIPS:-$ROOT/runs/songs/music/heldout}
