#!/usr/bin/env bash
# a 3-hour file there and back in <= 700 MB resident, and encodec's memory for as long as it survives (6 GB); 8-12 minutes (HOURS=0.05 tries it)
. "$(dirname "$0")/common.sh"
PEERS=/tmp/peers
[ -d $PEERS/encodec ] || $ROOT/.venv/bin/pip install -q --no-deps --target $PEERS encodec einops
$PY benchmarks/codec_peers.py --long ours --hours ${HOURS:-3} --threads 2
$PY benchmarks/codec_peers.py --long encodec --encodec $PEERS --threads 2 2>/dev/null || true
