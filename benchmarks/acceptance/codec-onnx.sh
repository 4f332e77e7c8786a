#!/usr/bin/env bash
# ONNX files of the bundled codecs: the same codes on >= 99.9 % of the frames of held-out clips, audio within 1e-4; 3 minutes (CLIPS=a folder of a few clips tries it)
. "$(dirname "$0")/common.sh"
for model in nano nano-wide; do
  echo "model $model"
  $PY benchmarks/codec_files.py --clips $CLIPS --parts onnx --model $model 2>/dev/null
done
