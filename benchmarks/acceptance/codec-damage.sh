#!/usr/bin/env bash
# 400 damaged .acx files (strict and not): told or refused, none unnoticed; 500 random files: exact lengths; 5 minutes (COUNT=20 tries it)
. "$(dirname "$0")/common.sh"
timeout 900 $PY benchmarks/codec_files.py --clips $CLIPS --parts damage random --damaged ${COUNT:-400} --files ${FILES:-${COUNT:-500}} 2>/dev/null
