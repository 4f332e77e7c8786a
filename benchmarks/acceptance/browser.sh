#!/usr/bin/env bash
# every browser test (flows x languages x seats, axe-core on every view). About 15 minutes (not measured on an idle machine). Needs `make browser-deps`.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" && .venv/bin/python -m pytest -q -p no:randomly tests/server/api/test_browser*.py tests/workflows/studio/test_browser*.py
