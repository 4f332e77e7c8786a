#!/usr/bin/env bash
# 200 analyses and 200 uploads (three seconds each, all different): the server and its processes within 60 MB of before. 3 minutes (COUNT=10 tries it)
. "$(dirname "$0")/common.sh"
N=${COUNT:-200} PORT=18766
$PY - $OUT $N <<'P'
import sys, torch
from audiocraft.audio.files import audio_write
time = torch.arange(3 * 24000) / 24000
for number in range(int(sys.argv[2]) + 5):
    audio_write(f"{sys.argv[1]}/{number}", 0.3 * torch.sin(6.2832 * (200 + number) * time)[None], 24000, format="wav", strategy="clip")
P
$ROOT/.venv/bin/audiocraft serve --port $PORT --data $OUT/data >$OUT/log 2>&1 & SERVER=$!
for i in $(seq 300); do curl -sf localhost:$PORT/readyz >/dev/null && break; sleep 0.2; done
memory() { for pid in $SERVER $(pgrep -P $SERVER); do awk '/VmRSS/ {print $2}' /proc/$pid/status; done 2>/dev/null | awk '{sum += $1} END {print int(sum / 1024)}'; }
each() { # an upload is deleted again, since 64 may wait to be used
  curl -s -o $OUT/answer -w "%{http_code}\n" -F "file=@$OUT/$1.wav" localhost:$PORT/v1/$2
  [ $2 = analyze ] || curl -s -o /dev/null -X DELETE localhost:$PORT/v1/uploads/$($PY -c 'import json, sys; print(json.load(open(sys.argv[1]))["id"])' $OUT/answer)
}
for i in $(seq $N $((N + 4))); do each $i analyze; each $i uploads; done | sort | uniq -c
sleep 35  # what analyses ends half a minute after the last one
before=$(memory)
for i in $(seq 0 $((N - 1))); do each $i analyze; each $i uploads; done | sort | uniq -c
sleep 35
echo "server and its processes: before $before MB, after $(memory) MB"
kill $SERVER; wait $SERVER || true
