# Every target sets itself up in .venv; all that is needed before is Python 3.11+, a C++ compiler and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BUILD  := build
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser fuzz lint format docs release-check bench bench-large bench-gpu model model-large clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# What was compiled before is taken away: where compiling fails, pip goes on without a word.
BUILT  := scanner/images/_decoders.*.so scanner/images/_decoders.*.pyd
COMPILED = @$(BIN)/python -c 'import scanner.images._decoders' 2>/dev/null || echo 'scanner/images/_decoders.c was not compiled: compressed tiles will be read slowly'

$(VENV)/core: pyproject.toml scanner/images/_decoders.c scanner/images/_hcompress.h scanner/images/_rice.h | $(BIN)/python
	@rm -f $(BUILT)
	$(PIP) --editable .
	$(COMPILED)
	@touch $@

$(VENV)/dev: pyproject.toml scanner/images/_decoders.c scanner/images/_hcompress.h scanner/images/_rice.h | $(BIN)/python
	@rm -f $(BUILT)
	$(PIP) --editable '.[training,dev]'
	$(COMPILED)
	@touch $@ $(VENV)/core

demo: $(VENV)/core  ## install the torch-free core, scan the tile that ships with it, query a lens, draw the answer
	$(BIN)/scanner demo --out $(BUILD)/demo

test: $(VENV)/dev  ## every test (real survey pixels are used where they are found, and skipped visibly where not)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/browser

# Google's build of it serves as well where that is installed.
CHROMIUM = command -v chromium || command -v chromium-browser || command -v google-chrome \
	|| test -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
test-browser: $(VENV)/dev  ## the page in a real browser, Debian's chromium; screenshots in build/screens
	@{ $(CHROMIUM); } >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qqy chromium; } \
		|| { echo 'The page is tested in chromium: apt-get install chromium' >&2; exit 1; }
	$(BIN)/python -m pytest tests/browser

MUTANTS ?= 30000
fuzz: $(VENV)/dev  ## 2,000 mutants of FITS files of each kind, and 30,000 of each kind of stream under gcc's sanitisers (an hour)
	SCANNER_MUTANTS=$(MUTANTS) $(BIN)/python -m pytest tests/scanner/images/test_mutants.py tests/scanner/images/test_sanitised.py

lint: $(VENV)/dev  ## ruff (lint and format), mypy --strict and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

docs: $(VENV)/dev  ## the site, into build/docs (the pages made from the code: python docs/generate.py)
	$(BIN)/python -m sphinx -b html -qW --keep-going docs $(BUILD)/docs

format: $(VENV)/dev  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/peers: pyproject.toml | $(BIN)/python
	-$(PIP) --editable '.[bench]'
	@touch $@

bench: $(VENV)/dev $(VENV)/peers  ## measure: prints tables, writes build/bench.json (HYRAX=python of an environment with hyrax, timm)
	@mkdir -p $(BUILD)
	$(BIN)/python -m bench --out $(BUILD)/bench.json $(if $(HYRAX),--hyrax $(HYRAX))

bench-large: $(VENV)/dev  ## index and Lance dataset at ten million rows: an hour, 27 GB of disk; writes build/bench-large.json
	@mkdir -p $(BUILD)
	$(BIN)/python -m bench.search.large --out $(BUILD)/bench-large.json

DATA    ?= ../shared/data
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
MODEL   := $(BUILD)/model
TRAIN   := $(BIN)/python -m training
# glibc keeps the memory of a step's arrays for the next one, instead of having the kernel clear it anew each time
model model-large: export MALLOC_MMAP_MAX_ = 0
model model-large: export MALLOC_TRIM_THRESHOLD_ = 17179869184
model: $(VENV)/dev  ## make the encoder small anew: simulate, train in three stages, export, evaluate (2 to 4 hours; DATA=real fields)
	$(PIP) --editable '.[evaluation]'
	$(TRAIN) cutouts $(MODEL)/shards --fields $(DATA) --simulate 240 --seed 1 --workers $(WORKERS)
	$(TRAIN) pretrain training/configs/small-reconstruct.toml --shards $(MODEL)/shards --out $(MODEL)/first --resume
	$(TRAIN) pretrain training/configs/small.toml --shards $(MODEL)/shards --out $(MODEL)/run --begin $(MODEL)/first --resume
	$(TRAIN) cutouts $(MODEL)/painted --fields $(DATA) --simulate 96 --seed 1 --paint 40 --workers $(WORKERS)
	set -e; for seed in 0 1 2; do $(TRAIN) pretrain training/configs/small-lens.toml --seed $$seed \
		--shards $(MODEL)/painted --out $(MODEL)/lens-$$seed --begin $(MODEL)/run --resume; done
	test -f $(MODEL)/lens/checkpoint.safetensors \
		|| $(TRAIN) average $(MODEL)/lens-0 $(MODEL)/lens-1 $(MODEL)/lens-2 --shards $(MODEL)/painted --out $(MODEL)/lens
	$(BIN)/python -m export $(MODEL)/lens $(MODEL)/small --cutouts $(MODEL)/painted
	$(TRAIN) evaluate $(MODEL)/small/encoder.onnx --data $(DATA) --painted $(MODEL)/painted \
		--checkpoint $(MODEL)/run --turns --short 64 --out $(MODEL)/evaluation
	$(BIN)/python -m export $(MODEL)/lens $(MODEL)/small --cutouts $(MODEL)/painted --evaluation $(MODEL)/evaluation/evaluation.json

SCENES ?= 1200
LARGE  ?= training/configs/large
GPUS   ?= 1
MINUTES ?=
LARGE_TRAIN = $(BIN)/torchrun --standalone --nproc-per-node $(GPUS) -m training pretrain --resume
LARGE_EXPORT = $(BIN)/python -m export $(MODEL)/lens-large $(MODEL)/large --cutouts $(MODEL)/painted-large
minutes = $(if $(MINUTES),--minutes $(shell awk 'BEGIN { print $(MINUTES) * $(1) }'))
model-large: $(VENV)/dev  ## the same for a GPU, from simulation: needs only this repository (SCENES, GPUS, LARGE, MINUTES; DATA to evaluate)
	$(TRAIN) cutouts $(MODEL)/shards-large --simulate $(SCENES) --seed 2 --workers $(WORKERS)
	$(TRAIN) cutouts $(MODEL)/painted-large --simulate $(shell awk 'BEGIN { print int($(SCENES) / 4) + 9 }') --seed 3 --paint 16 --workers $(WORKERS)
	$(LARGE_TRAIN) $(LARGE)-reconstruct.toml --shards $(MODEL)/shards-large --out $(MODEL)/first-large $(call minutes,0.35)
	$(LARGE_TRAIN) $(LARGE).toml --shards $(MODEL)/shards-large --out $(MODEL)/run-large --begin $(MODEL)/first-large $(call minutes,0.45)
	$(LARGE_TRAIN) $(LARGE)-lens.toml --shards $(MODEL)/painted-large --out $(MODEL)/lens-large --begin $(MODEL)/run-large $(call minutes,0.2)
	$(LARGE_EXPORT)
	$(if $(wildcard $(DATA)),$(TRAIN) evaluate $(MODEL)/large/encoder.onnx --data $(DATA) --checkpoint $(MODEL)/run-large --short 64 --out $(MODEL)/evaluation-large)
	$(if $(wildcard $(DATA)),$(LARGE_EXPORT) --evaluation $(MODEL)/evaluation-large/evaluation.json)

bench-gpu: $(VENV)/dev  ## encoder and scan on an NVIDIA GPU, beside PyTorch; writes build/bench-gpu.json
	@mkdir -p $(BUILD)
	@if command -v nvidia-smi >/dev/null; then $(PIP) --editable '.[cuda]'; fi
	$(BIN)/python -m bench.gpu --out $(BUILD)/bench-gpu.json

release-check: $(VENV)/dev  ## all of a release up to the tag: build, install the wheel apart, scan the demo with it (a minute or two)
	$(BIN)/python scripts/release.py --check

clean:  ## remove what the targets made, .venv included
	rm -rf $(VENV) $(BUILD) $(BUILT) *.egg-info
