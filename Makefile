# The commands a developer needs; continuous integration calls the same ones.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
# Two workers keep a small machine busy without one test's threads starving another's.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-deps matrix kernels sanitize kernel-deps wheel check fix bench browser docs notebooks parity browser-deps corpus-deps bench-deps cards queue clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	command -v "$${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[kernels]'
	touch $@

setup: $(STAMP) ## create .venv and install everything for development

demo: setup ## make a short piece of music with the bundled model
	$(BIN)/audiocraft generate "calm piano, 90 bpm, A minor" --duration 10 --seed 1 --output demo.wav

# Half of the files to each worker, in order, so that what the tests of a file share is made once; who is done first takes
# over some of the rest.
test: setup ## run every test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-deps: setup ## what only some tests need: Ray, demucs, PyAV, silero-vad; without them those tests skip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray,av,melody,podcast]'

matrix: setup ## run every test as other processors would: other vector units, libraries' paths, threads, roundings, values
	tests/matrix.sh $(BIN)/python

kernels: setup ## run the kernels of every level, here or under qemu, against results in float64
	$(BIN)/python tests/kernels/levels.py --random 1

sanitize: setup ## the same with the address and undefined-behaviour sanitizers, where these run
	$(BIN)/python tests/kernels/levels.py --sanitize --random 1

kernel-deps: ## emulators and a compiler for levels that this processor has not (needs root, Debian or Ubuntu)
	apt-get update --quiet=2
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
	  qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross

wheel: setup ## wheels with compiled kernels in dist/: for this machine, and for aarch64 where a cross compiler is there
	$(BIN)/python -m hatchling build -t sdist -t wheel
	! command -v aarch64-linux-gnu-gcc || AUDIOCRAFT_WHEEL_MACHINE=aarch64 $(BIN)/python -m hatchling build -t wheel

check: setup ## format, lint, types and contracts; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/contracts

fix: setup ## format and repair what can be repaired automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: setup ## compare with the original's recorded results and with transformers; says what is absent
	$(BIN)/python -m pytest -n $(JOBS) -m parity -rs

bench: setup ## measure speed and the bundled models; the last line of each is JSON
	$(BIN)/audiocraft bench
	$(BIN)/python benchmarks/nano.py

browser: browser-deps ## try the page in a real browser (AUDIOCRAFT_TIMED=1: also how soon sound is heard)
	$(BIN)/python -m pytest tests/server/api/test_browser*.py tests/workflows/studio/test_browser*.py

docs: setup ## build the documentation into site/, with search and a reference, and try every snippet in it
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m pytest tests/contracts/test_docs.py tests/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'site/ is ready: $(BIN)/python -m http.server --directory site, then http://127.0.0.1:8000'

notebooks: setup ## run the notebooks of demos/ and keep what they show; ARGUMENTS=--check writes nothing
	$(BIN)/python demos/build.py $(ARGUMENTS)

# Chromium without windows where there is any choice: half the size, and no toolkit.
browser-deps: setup ## Playwright, and Chromium where there is none (which needs root, Debian)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	command -v chromium || command -v chromium-headless-shell || command -v google-chrome || \
	  { apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive \
	    apt-get install --quiet=2 --yes --no-install-recommends chromium-headless-shell; }

corpus-deps: ## what renders the training corpora: FluidSynth (needs root, Debian or Ubuntu), fonts, recordings
	apt-get update --quiet=2
	apt-get install --yes --no-install-recommends libfluidsynth3 fluid-soundfont-gm
	recipes/fetch_packages.sh runs/packages

cards: setup ## the figures of `audiocraft evaluate` in the cards of the bundled models (needs a corpus: docs/corpus.md)
	$(BIN)/python recipes/cards.py musicgen-nano nano

queue: setup ## train the bundled models in the background, at the lowest priority; goes on where it stopped
	$(BIN)/python recipes/training_queue.py start

bench-deps: corpus-deps ## system packages that `make bench` compares with (needs root, Debian or Ubuntu)
	apt-get install --yes --no-install-recommends opus-tools

clean: ## remove what the tools left behind; keeps .venv and runs
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
