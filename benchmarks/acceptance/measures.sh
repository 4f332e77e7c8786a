#!/usr/bin/env bash
# FAD within 1e-6 of an independent computation in float64, larger with more noise, low-pass and clipping, the same twice; KAD's interval holds
# the value of another half of the data in >= 90 % of 50 splits; 87 real clips; 3 minutes (COUNT=20 tries it)
. "$(dirname "$0")/common.sh"
$PY benchmarks/measures.py $CLIPS --clips ${COUNT:-87}
