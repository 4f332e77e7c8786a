#!/usr/bin/env bash
# "A folder of 12 odd files: audiocraft finetune on the nano base ends with a model in <= 10 min on 2 cores; the table names each file left out and why"; goal <= 10 minutes, takes about as long (SIZE=small tries it)
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -eu
cd "$ROOT"
export PYTHONPATH=$ROOT
PY=$ROOT/.venv/bin/python
OUT=$(mktemp -d /tmp/acceptance-XXXXXX)
trap "rm -rf $OUT" EXIT

$PY benchmarks/finetune.py --out $OUT/odd --part odd --size "${SIZE:-full}"
ls -la $OUT/odd/odd-run/model
