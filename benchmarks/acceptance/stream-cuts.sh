#!/usr/bin/env bash
# Streams cut at any byte after the first second are found as marked (goal: all), 87 real clips x 4 formats, and the same for sparse quiet
# pieces; no false alarm without a mark; 8 minutes (COUNT=4 tries it)
. "$(dirname "$0")/common.sh"
$PY benchmarks/stream_cuts.py $CLIPS --clips ${COUNT:-87} --cuts 2
