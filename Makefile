# Every target explains itself: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install train test lint ui bench bench-quick audit clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The stamp is newer than what it depends on exactly when the installation is: a second call installs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]' -c constraints.txt
	@touch $@

install: $(VENV)/.installed ## make .venv when it is missing or stale and install the pinned project

train: $(VENV)/.installed ## run an experiment; ARGS="..." are its overrides, none is the embedded default
	$(BIN)/python -m llama_experiments $(ARGS)

test: $(VENV)/.installed ## run the tests; ARGS="..." goes to pytest
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: $(VENV)/.installed ## MLflow's page on the recorded runs
	$(BIN)/python -m llama_experiments ui $(ARGS)

bench: $(VENV)/.installed ## speed beside Trainer, TRL, peft and a bare loop, hours; ARGS="--case books --repeat 2"
	$(BIN)/python benchmarks/speed.py $(ARGS)

bench-quick: $(VENV)/.installed ## the same in small, under three minutes
	$(BIN)/python benchmarks/speed.py --quick $(ARGS)

# A folder of its own: what audits is no part of what is audited.
audit: $(VENV)/.installed ## ask the advisory database about the pinned packages (needs the network)
	$(BIN)/python -m pip install --quiet --target $(VENV)/audit pip-audit
	PYTHONPATH=$(VENV)/audit $(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r constraints.txt $(ARGS)

clean: ## delete .venv and caches (outputs/ stays)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
