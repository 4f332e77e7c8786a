#!/usr/bin/env bash
# the page with six pieces in the making and a second tab: every action <= 1 s (the test prints each action's time and fails above a second). About 1 minute. Needs `make browser-deps`.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd $ROOT && AUDIOCRAFT_TIMED=1 .venv/bin/python -m pytest -q -s -p no:randomly tests/server/api/test_browser_tabs.py -k six_pieces
