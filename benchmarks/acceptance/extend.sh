#!/usr/bin/env bash
# Extend keeps key and tempo: own pieces 30 of 30, uploads 28 of 30 (15: tempo within 2 % and key in >= 27). About 10 minutes (not measured on an idle machine); goes on where it stopped.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" && .venv/bin/python benchmarks/extend.py --count ${COUNT:-30} --out ${OUT:-/tmp/extend.json}
