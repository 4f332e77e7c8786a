#!/usr/bin/env bash
# "Killed at a random step and resumed = uninterrupted, bit for bit, for every solver, on 1 and 2 ranks; a 2-rank checkpoint resumes on 1 rank and back": all 16 combinations of 8 kinds of run; goal: all pass; about 6 minutes on a quiet machine (KIND=musicgen tries one kind)
. "$(dirname "$0")/common.sh"
$PY -m pytest -q -m "slow or not slow" -p no:cacheprovider tests/solvers/test_killed.py -k "killed ${KIND:+and $KIND}" --durations=16
