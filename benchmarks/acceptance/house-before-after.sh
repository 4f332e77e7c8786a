#!/usr/bin/env bash
# benchmarks/engine.py, decode.py and codec.py before (9f1687b) and after (main), in turns; goal: no figure worse by more than 3 %. About 6 minutes on 2 idle cores, plus 1 for compiling kernels.
# Rounds and sizes: ROUNDS=2 SIZE=small SECONDS_OF=3 (tried with ROUNDS=1 SECONDS_OF=0.5 PRECISIONS=int8).
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -u
PY=$ROOT/.venv/bin/python
BEFORE=$ROOT/runs/before AFTER=$ROOT
[ -d $BEFORE ] || git -C $ROOT worktree add -q --detach $BEFORE 9f1687b
OUT=$(mktemp -d)
ROUNDS=${ROUNDS:-2} SIZE=${SIZE:-small} SECONDS_OF=${SECONDS_OF:-3}
PRECISIONS=${PRECISIONS:-"fp32 int8"}
MODEL=$BEFORE/audiocraft/bundled/${MODEL:-musicgen-nano}   # the same weights for both
one() { # NAME TREE SCRIPT WORDS...
  (cd "$2" && PYTHONPATH=$2 AUDIOCRAFT_CACHE_DIR=$OUT/cache.$1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=2 \
    timeout 400 $PY benchmarks/$3.py "${@:4}" 2>>$OUT/log | tail -n 1 >> $OUT/$1.$3) || { echo "$1 $3 failed"; tail -n 5 $OUT/log; }
}
for name in before after; do # kernels are compiled first, and not measured
  tree=$([ $name = before ] && echo $BEFORE || echo $AFTER)
  (cd $tree && PYTHONPATH=$tree AUDIOCRAFT_CACHE_DIR=$OUT/cache.$name $PY -c 'from audiocraft.kernels.bindings import kernels; kernels()' 2>>$OUT/log)
done
for round in $(seq $ROUNDS); do
  for name in before after; do
    tree=$([ $name = before ] && echo $BEFORE || echo $AFTER)
    one $name $tree engine --model "$MODEL" --requests 4 --seconds $SECONDS_OF --minutes 0 --threads 2
    one $name $tree decode --size $SIZE --precisions $PRECISIONS --seconds 1 --codec-seconds $SECONDS_OF --threads 2 --alone
    one $name $tree codec --seconds $SECONDS_OF --repeat 3 --threads 2 --alone
  done
done
$PY - $OUT <<'P'
import json, statistics, sys
from pathlib import Path
out = Path(sys.argv[1])
def leaves(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items(): yield from leaves(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value): yield from leaves(inner, f"{name}[{place}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool): yield name, float(value)
for script in ("engine", "decode", "codec"):
    sides = []
    for name in ("before", "after"):
        found = {}
        path = out / f"{name}.{script}"
        for line in path.read_text().splitlines() if path.exists() else []:
            try: document = json.loads(line)
            except ValueError: print(script, name, "gave no JSON:", line[:120]); continue
            for key, number in leaves(document): found.setdefault(key, []).append(number)
        sides.append(found)
    both = [key for key in sides[0] if key in sides[1]]
    print(f"{script}: {len(both)} figures in both; median before, after, after/before (rounds)")
    for key in both:
        one, two = (statistics.median(side[key]) for side in sides)
        if one and abs(one) > 1e-9: print(f"  {key.strip('.'):60} {one:12.5g} {two:12.5g} {two / one:7.3f}   {sides[0][key]} {sides[1][key]}")
P
