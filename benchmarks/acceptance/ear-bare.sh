#!/usr/bin/env bash
# 8 bare prompts x 32 seeds x 8 s: bursts <= 2 %, nothing above -1 dBTP in any form, no tone > 2 s, last 5 ms < -40 dB. Give a part 1..4 (8 seeds each) or nothing for all four; about a minute a part.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT"
for part in ${1:-1 2 3 4}; do
  .venv/bin/python benchmarks/ear.py --prompts bare --seeds ${SEEDS:-8} --first $((1 + 8 * (part - 1))) --every 4 \
    --forms wav flac mp3 ogg opus stream "mp3 stream" "opus stream"
done
