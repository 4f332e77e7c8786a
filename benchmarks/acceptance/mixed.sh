#!/usr/bin/env bash
# "8 mixed requests at once: each equals its solo result, none starves (p95 waiting of the shortest <= 2 x alone)"; 2 minutes (ROUNDS=1 tries it)
. "$(dirname "$0")/common.sh"
for threads in 1 2; do
  echo "threads $threads"
  $PY benchmarks/mixed.py --magnet magnet-nano --jasco jasco-nano --rounds "${ROUNDS:-5}" --threads $threads
done
