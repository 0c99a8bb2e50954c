# Every target makes its own environment in .venv; nothing has to be installed before but Python and make.
# PYTHON=python3.12 make test    picks the interpreter.
# PYTEST_ARGS="-k onnx" make test   hands arguments on.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_DIR ?= runs/demo
PYTEST_ARGS ?=
# One process per core, each with one torch thread: several threads each would fight for the cores.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format bench clean

help: ## Say what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the tested versions of everything.

# Installed again only when what is installed changes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"edgesynth needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}; try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the tested versions into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## Learn a generator for Fashion-MNIST and a simulated Jetson TX2, and write its report.
	$(BIN)/edgesynth synth benchmarks/demo/job.toml --run-dir $(RUN_DIR) --fresh

test: $(STAMP) ## Run the tests that take minutes.
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

test-slow: $(STAMP) ## Run the tests that take longer.
	$(PYTEST) -m slow $(PYTEST_ARGS)

check: $(STAMP) ## Lint, format and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Put the code in the house format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Run every benchmark; days on two cores.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@set -e; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## Remove what the tools left behind; runs and data stay.
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
