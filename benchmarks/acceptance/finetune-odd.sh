#!/usr/bin/env bash
# "A folder of 12 odd files: audiocraft finetune on the nano base ends with a model in <= 10 min on 2 cores; the table names each file left out and why"; a minute with AVX-512, ten with AVX2 (SIZE=small tries it)
. "$(dirname "$0")/common.sh"
$PY benchmarks/finetune.py --out $OUT/odd --part odd --size "${SIZE:-full}"
ls -la $OUT/odd/odd-run/model
