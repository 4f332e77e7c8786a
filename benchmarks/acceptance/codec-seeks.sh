#!/usr/bin/env bash
# 1,000 seeks of a 1-hour file, equal to the slices of the whole (<= 1e-4), <= 30 ms each (processor time, goal < 20), by static tables and by the context model; 10 minutes (SEEKS=20 MINUTES=2 tries it)
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -eu
cd "$ROOT"
export PYTHONPATH=$ROOT HF_HUB_OFFLINE=1
PY=$ROOT/.venv/bin/python
OUT=$(mktemp -d /tmp/acceptance-XXXXXX)
trap "rm -rf $OUT" EXIT
CLIPS=${CLIPS:-$ROOT/runs/songs/music/heldout}
export OMP_NUM_THREADS=1
for profile in static context; do
  echo "profile $profile"
  $PY benchmarks/codec_files.py --clips $CLIPS --parts seeks --profile $profile --minutes ${MINUTES:-60} --seeks ${SEEKS:-1000} 2>/dev/null
done
