#!/usr/bin/env bash
# "One step of musicgen (small's widths, 4 layers) and of the 32 kHz codec against a plain loop, alternating: overhead <= 5 % time, <= 5 % memory; the loader alone >= 3 x the step's rate"; about 4 minutes (PAIRS=1 PEAKS=1 tries it)
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -eu
cd "$ROOT"
export PYTHONPATH=$ROOT
PY=$ROOT/.venv/bin/python
OUT=$(mktemp -d /tmp/acceptance-XXXXXX)
trap "rm -rf $OUT" EXIT

$PY benchmarks/training.py --pairs "${PAIRS:-9}" --peaks "${PEAKS:-3}" ${ONLY:+--only $ONLY}
