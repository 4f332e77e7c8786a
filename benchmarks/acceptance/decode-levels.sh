#!/usr/bin/env bash
# "AVX2 step <= 1.25 x the bound, real-time factor <= 1.0, eight at once >= 2.2 x; VNNI >= 3.3 x; int4 <= 1.3 x the bound at small and medium"; 10-15 minutes, 6 GB of memory for medium (SIZES=small SECONDS_=1 tries it)
. "$(dirname "$0")/common.sh"
grep -m1 'model name' /proc/cpuinfo; grep -om1 -e avx512_vnni -e avx_vnni /proc/cpuinfo || echo "no VNNI here"
for size in ${SIZES:-small medium}; do
  for level in "" v3; do
    echo "size $size level ${level:-best}"
    $PY benchmarks/decode.py --size $size --precisions int8 int4 --alone --threads 2 --seconds "${SECONDS_:-4}" --codec-seconds "${SECONDS_:-4}" ${level:+--level $level}
  done
done
