#!/usr/bin/env bash
# "One step of musicgen (small's widths, 4 layers) and of the 32 kHz codec against a plain loop, alternating: overhead <= 5 % time, <= 5 % memory; the loader alone >= 3 x the step's rate"; about 4 minutes (PAIRS=1 PEAKS=1 tries it)
. "$(dirname "$0")/common.sh"
$PY benchmarks/training.py --pairs "${PAIRS:-9}" --peaks "${PEAKS:-3}" ${ONLY:+--only $ONLY}
