#!/usr/bin/env bash
# 1,000 seeks of a 1-hour file, equal to the slices of the whole (<= 1e-4), <= 30 ms each (processor time, goal < 20), by static tables and by the context model; 90 seconds (SEEKS=20 MINUTES=2 tries it)
. "$(dirname "$0")/common.sh"
export OMP_NUM_THREADS=1
for profile in static context; do
  echo "profile $profile"
  $PY benchmarks/codec_files.py --clips $CLIPS --parts seeks --profile $profile --minutes ${MINUTES:-60} --seeks ${SEEKS:-1000} 2>/dev/null
done
