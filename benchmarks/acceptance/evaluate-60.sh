#!/usr/bin/env bash
# `evaluate` of 60 pieces <= 2 min on 2 cores, embedder included; then where its time goes; 4 minutes (PIECES=4 tries it)
. "$(dirname "$0")/common.sh"
N=${PIECES:-60}
mkdir $OUT/pieces $OUT/reference
find $CLIPS -name '*.wav' | sort | head -n $N | while read f; do cp "$f" $OUT/pieces; [ -f "${f%.wav}.json" ] && cp "${f%.wav}.json" $OUT/pieces || true; done
find ${CLIPS%heldout}valid -name '*.wav' | sort | head -n $N | xargs -I{} cp {} $OUT/reference
began=$(date +%s.%N)
AUDIOCRAFT_CACHE_DIR=$OUT/cache OMP_NUM_THREADS=2 $PY -m audiocraft evaluate $OUT/pieces --reference $OUT/reference --json $OUT/found.json --quiet
echo "evaluate of $N pieces beside $N of reference: $(echo "$(date +%s.%N) - $began" | bc) s"
rm -rf $OUT/cache; mkdir $OUT/few; ls $OUT/pieces/*.wav | head -n $((N < 10 ? N : 10)) | xargs -I{} cp {} $OUT/few
AUDIOCRAFT_CACHE_DIR=$OUT/cache2 $PY -m cProfile -o $OUT/profile -m audiocraft evaluate $OUT/few --json $OUT/few.json --quiet > /dev/null
$PY -c "import pstats; pstats.Stats('$OUT/profile').sort_stats('tottime').print_stats(12)" | tail -n 18
