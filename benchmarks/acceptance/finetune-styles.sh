#!/usr/bin/env bash
# "8 synthesised songs of an unusual style, nano base, <= 20 min: held-out cross-entropy -15 % or better with LoRA and with full; on the base corpus <= +5 % (LoRA). Two adapters at half weight lie between. Adapter <= 3 % of the base"; about 45 minutes for three runs and the measuring (SIZE=tiny tries it in 5)
. "$(dirname "$0")/common.sh"
$PY benchmarks/finetune.py --out $OUT/styles --size "${SIZE:-full}" --part bells-lora --part buzz-lora --part bells-full --part measure
