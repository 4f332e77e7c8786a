#!/usr/bin/env bash
# 400 damaged .acx files (strict and not): told or refused, none unnoticed; 500 random files: exact lengths; 5 minutes (COUNT=20 tries it)
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -eu
cd "$ROOT"
export PYTHONPATH=$ROOT HF_HUB_OFFLINE=1
PY=$ROOT/.venv/bin/python
OUT=$(mktemp -d /tmp/acceptance-XXXXXX)
trap "rm -rf $OUT" EXIT
CLIPS=${CLIPS:-$ROOT/runs/songs/music/heldout}
timeout 900 $PY benchmarks/codec_files.py --clips $CLIPS --parts damage random --damaged ${COUNT:-400} --files ${FILES:-${COUNT:-500}} 2>/dev/null
