#!/usr/bin/env bash
# 21 kinds of sound x 8 seeds: none silent. About a minute.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" && .venv/bin/python benchmarks/ear.py --prompts sounds --seeds ${SEEDS:-8} --forms wav
