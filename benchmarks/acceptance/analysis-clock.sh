#!/usr/bin/env bash
# analysis of 10 min of stereo in <= 20 s by the clock, over HTTP and by the command line; memory of the server after it. About 2 minutes.
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd $ROOT; T=$(mktemp -d); S=${SECONDS_OF:-600}
.venv/bin/python - "$T/long.wav" "$S" <<'P'
import sys, torch
from audiocraft.audio.files import audio_write
seconds = int(sys.argv[2]); time = torch.arange(seconds * 44100) / 44100
beat = torch.exp(-8 * (time * 2 % 1)); notes = torch.tensor([220.0, 261.6, 329.6, 392.0])[(time / 2).long() % 4]
left = 0.3 * torch.sin(6.2832 * notes * time) * beat; noise = 0.01 * torch.randn(2, len(time))
audio_write(sys.argv[1], torch.stack([left, 0.8 * left]) + noise, 44100, format="wav", strategy="clip", add_suffix=False)
P
( time .venv/bin/audiocraft analyze "$T/long.wav" >/dev/null ) 2>&1 | sed 's/^real/command line, real/'
# The first use of librosa on a machine compiles it, for some ten seconds; what is measured is every other time.
.venv/bin/audiocraft analyze "$T/long.wav" >/dev/null 2>&1
( time .venv/bin/audiocraft analyze "$T/long.wav" >/dev/null ) 2>&1 | sed 's/^real/command line again, real/'
.venv/bin/python - "$T/long" <<'P'
import sys
from audiocraft.audio.files import audio_read, audio_write
audio_write(sys.argv[1], *audio_read(sys.argv[1] + ".wav"), format="ogg", strategy="clip")  # uploads have 25 MB at most
P
.venv/bin/audiocraft serve --port 18765 --data "$T/data" >"$T/log" 2>&1 & SERVER=$!
for i in $(seq 300); do curl -sf localhost:18765/readyz >/dev/null && break; sleep 0.2; done
for i in 1 2; do curl -s -o "$T/answer" -w "HTTP %{http_code} in %{time_total} s\n" -F "file=@$T/long.ogg" localhost:18765/v1/analyze; done
grep VmRSS /proc/$SERVER/status; kill $SERVER; wait $SERVER; rm -r "$T"
