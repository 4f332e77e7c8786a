#!/usr/bin/env bash
# "MAGNeT small size, int8, random weights, 2 cores: wall time of 10 s beside the original's algorithm in plain torch fp32 in one run: >= 4 x" (AVX2 here); goal >= 4; about 6 minutes at 24 layers (LAYERS=1 ROUNDS=1 tries it)
. "$(dirname "$0")/common.sh"
for threads in 2 1; do
  $PY benchmarks/magnet.py --size small ${LAYERS:+--layers $LAYERS} --precision int8 --rounds "${ROUNDS:-3}" --threads $threads
done
$PY benchmarks/magnet.py --size small ${LAYERS:+--layers $LAYERS} --precision int4 --rounds "${ROUNDS:-3}" --threads 2
