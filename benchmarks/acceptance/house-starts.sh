#!/usr/bin/env bash
# `import audiocraft` and `audiocraft --help` before (9f1687b) and after (main), in turns; goal: not slower. About 1 minute.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
set -u
PY=$ROOT/.venv/bin/python
BEFORE=$ROOT/runs/before AFTER=$ROOT
[ -d $BEFORE ] || git -C $ROOT worktree add -q --detach $BEFORE 9f1687b
$PY - ${ROUNDS:-15} $BEFORE $AFTER <<'P'
import os, statistics, subprocess, sys, time
rounds, trees = int(sys.argv[1]), sys.argv[2:]
code = "import sys; from audiocraft.cli.main import main; sys.exit(main(sys.argv[1:]))"
cases = {
    "import audiocraft": ["-c", "import audiocraft"],
    "import audiocraft.models": ["-c", "from audiocraft.models import MusicGen"],
    "audiocraft --help": ["-c", code, "--help"],
    "audiocraft generate --help": ["-c", code, "generate", "--help"],
}
for name, words in cases.items():
    times = {tree: [] for tree in trees}
    for turn in range(rounds + 1):
        for tree in trees:
            began = time.perf_counter()
            done = subprocess.run([sys.executable, *words], cwd="/tmp", env={**os.environ, "PYTHONPATH": tree}, capture_output=True)
            if done.returncode: print(name, tree, done.stderr[-200:])
            if turn: times[tree].append(1000 * (time.perf_counter() - began))
    one, two = (statistics.median(times[tree]) for tree in trees)
    print(f"{name:28} before {one:7.1f} ms (from {min(times[trees[0]]):.1f})  after {two:7.1f} ms (from {min(times[trees[1]]):.1f})  after/before {two/one:.3f}")
P
