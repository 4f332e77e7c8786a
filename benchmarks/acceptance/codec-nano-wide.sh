#!/usr/bin/env bash
# entropy tables for nano-wide, learnt from 900 clips of the corpus, and what they save on held-out clips (static >= 8 %, context >= 15 %, read >= 5 x real time); leaves them at /tmp/nano-wide-entropy.safetensors, to be copied to audiocraft/bundled/nano-wide/entropy.safetensors; then speed of nano-wide beside nano. 12 minutes (TRAIN=4 EPOCHS=1 tries it)
. "$(dirname "$0")/common.sh"
SONGS=${SONGS:-$ROOT/runs/songs/music}
TABLES=/tmp/nano-wide-entropy.safetensors
find $SONGS/train -name '*.wav' | sort | awk "NR % 3 == 1" | head -n ${TRAIN:-900} | xargs $PY -m audiocraft codec tables nano-wide --epochs ${EPOCHS:-8} -o $TABLES --quiet
ls -l $TABLES
cp -r audiocraft/bundled/nano-wide $OUT/nano-wide
cp $TABLES $OUT/nano-wide/entropy.safetensors
mkdir $OUT/held; find $CLIPS -name '*.wav' | sort | head -n ${HELD:-48} | xargs -I{} cp {} $OUT/held
for model in $OUT/nano-wide nano; do
  echo "model $model"
  $PY benchmarks/codec_files.py --clips $OUT/held --parts entropy --model $model 2>/dev/null
done
$PY - <<'P'
import time, torch
from audiocraft.codec import KnownCodec
from audiocraft.codec.streams import CodeFrames, CodeStream, SampleStream
for threads in (1, 2):
    torch.set_num_threads(threads)
    for name, books in (("nano", None), ("nano-wide", None), ("nano-wide", 4)):
        codec = KnownCodec.load(name).codec
        wav = 0.1 * torch.randn(1, 1, 30 * codec.sample_rate)
        for _ in range(2):
            began = time.perf_counter()
            stream, parts = CodeStream(codec, 1, books), []
            for piece in wav.split(codec.sample_rate // 50, dim=-1):
                parts.append(stream.push(piece).codes)
            parts.append(stream.finish().codes)
            encoding = time.perf_counter() - began
            codes, player = torch.cat(parts, dim=-1), SampleStream(codec)
            began = time.perf_counter()
            for step in codes.split(1, dim=-1):
                player.push(CodeFrames(step))
            player.finish()
            decoding = time.perf_counter() - began
        print(f"{name} {books or 'all'} codebooks, {threads} threads, pieces of 20 ms / a frame: "
              f"encode {encoding / 30:.3f}, decode {decoding / 30:.3f} of real time")
P
