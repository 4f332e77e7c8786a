#!/usr/bin/env bash
# encode and decode >= 2 x the faster of PyPI's transformers (32 kHz size) and encodec (24 kHz size), both directions; a stream of 20 ms pieces real-time <= 0.3; 2 minutes on 2 cores (SECONDS_OF=1 REPEAT=1 tries it)
. "$(dirname "$0")/common.sh"
PEERS=/tmp/peers
[ -d $PEERS/encodec ] || $ROOT/.venv/bin/pip install -q --no-deps --target $PEERS encodec einops
for threads in 1 2; do
  echo "threads $threads"
  $PY benchmarks/codec_peers.py --encodec $PEERS --seconds ${SECONDS_OF:-10} --threads $threads --repeat ${REPEAT:-3} 2>/dev/null
done
