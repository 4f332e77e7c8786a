#!/usr/bin/env bash
# all notebooks together <= 10 min, each <= 25 s. About 5 minutes (not measured on an idle machine).
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd $ROOT && time .venv/bin/python demos/build.py --check
