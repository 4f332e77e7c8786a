#!/usr/bin/env bash
# The suite as it runs on other machines: vector units of torch, paths of MKL and oneDNN, threads, and at last other
# roundings and other values than usual. Each run has another random order. Arguments: Python, then pytest's own (folders).
# A machine without AVX-512 leaves its rows out. Prints one line for each run; fails if one fails.
set -u
cd "$(dirname "$0")/.."
python=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
worst=0
try() {
  local code=0
  env "$1" "$2" "$3" "$4" "$5" "$python" -m pytest -n "${JOBS:-2}" "${@:6}" >"$log" 2>&1 || code=$?
  echo "$1 $2 $3 $4 $5: $(grep -E ' in [0-9.]+s' "$log" | tail -n 1) $(grep -E '^order' "$log" | grep -oE '[0-9]+$')"
  grep -E '^(FAILED|ERROR|skipped, but)' "$log"
  if [ "$code" -ne 0 ]; then worst=1; fi
}
none=AUDIOCRAFT_TEST_SEED=
try ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=1 $none "$@"
if grep -qw avx2 /proc/cpuinfo; then
  try ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=2 $none "$@"
fi
if grep -qw avx512f /proc/cpuinfo; then
  try ATEN_CPU_CAPABILITY=avx512 MKL_CBWR=AUTO ONEDNN_MAX_CPU_ISA=DEFAULT OMP_NUM_THREADS=1 $none "$@"
fi
try ATEN_CPU_CAPABILITY=default MKL_CBWR=AUTO ONEDNN_MAX_CPU_ISA=DEFAULT OMP_NUM_THREADS=2 AUDIOCRAFT_TEST_SEED=1 "$@"
try AUDIOCRAFT_TEST_ROUNDINGS=1 MKL_CBWR=AUTO ONEDNN_MAX_CPU_ISA=DEFAULT OMP_NUM_THREADS=1 AUDIOCRAFT_TEST_SEED=2 "$@"
exit "$worst"
