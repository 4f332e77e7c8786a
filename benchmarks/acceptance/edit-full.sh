#!/usr/bin/env bash
# loops, endings, layers, words, regions, styles at their full counts, two takes of layers and styles. Give a part; parts of about 5-15 minutes each (not measured on an idle machine), about an hour in all; goes on where it stopped.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT"
for part in ${1:-loops endings layers words regions styles}; do
  .venv/bin/python benchmarks/edit.py --parts $part ${COUNT:+--count $COUNT} --full --takes 2 --out ${OUT:-/tmp/edit-full-$part.json}
done
