# Needs make and Python 3.11 or newer; everything else is installed into .venv.
#   make PYTHON=/path/to/python3   to choose the Python
#   make PYTEST_FLAGS=             to run the tests one after the other

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)
PYTEST_FLAGS ?= -n auto --maxprocesses=4
SCAN_OUT ?= runs/first

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help scan bench figures lint test test-all format clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

scan: $(READY) ## set up, then draw a first landscape into runs/first (continues one that was interrupted)
	$(BIN)/landscape scan --block 5 --out $(SCAN_OUT) $$(test ! -e $(SCAN_OUT)/run.sqlite || echo --resume)

bench: $(READY) ## set up, then time the engines against plain fake quantization (BENCH_FLAGS="--weights ... --data ...")
	$(BIN)/python -m benchmarks.engine $(BENCH_FLAGS)

figures: $(READY) ## set up, then redraw the figures of the study from stored runs (FIGURE_FLAGS=--rerun computes them anew)
	$(BIN)/python figures/all.py $(FIGURE_FLAGS)

test: lint ## set up, then lint, types and the quick tests
	$(BIN)/pytest $(PYTEST_FLAGS)

lint: $(READY) ## set up, then lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test-all: PYTEST_FLAGS += -m ""
test-all: test ## the same with the slow tests

format: $(READY) ## sort imports, mend what lint can mend, format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove .venv, caches and build outputs; runs stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch and torchvision come from one index in one step: builds of different origin do not fit, and then timm fails
# to import with "operator torchvision::nms does not exist".
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with its venv module found;" \
		"install one (on Debian: apt install python3 python3-venv) or give it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable '.[dev]'
	@$(BIN)/python -c 'import timm' || { echo "make: timm cannot be imported (see above). If torchvision is named, torch" \
		"and torchvision are of different builds: run make clean, unset PIP_INDEX_URL and PIP_EXTRA_INDEX_URL" \
		"and try again" >&2; exit 1; }
	@touch $@
