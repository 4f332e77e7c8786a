#!/usr/bin/env bash
# "8 mixed requests at once: each equals its solo result, none starves (p95 waiting of the shortest <= 2 x alone)"; goal <= 2.0, 4.4-4.7 under load with shares of two thirds; nine tenths since decision 191, simulated 2.0; 5-8 minutes (ROUNDS=1 tries it)
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -eu
cd "$ROOT"
export PYTHONPATH=$ROOT
PY=$ROOT/.venv/bin/python
OUT=$(mktemp -d /tmp/acceptance-XXXXXX)
trap "rm -rf $OUT" EXIT

for threads in 1 2; do
  echo "threads $threads"
  $PY benchmarks/mixed.py --rounds "${ROUNDS:-5}" --threads $threads
done
