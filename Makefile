# descant: `make help` lists what there is. Another interpreter: make PYTHON=python3.12 test

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check lint types docs wheel format clean
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := results/demo
WINGS := envs rewards agents benchmarks
CONSTRAINTS := $(CURDIR)/constraints.txt
ARGS ?=
# Two test workers on two cores: one thread each.
test wheel: export OMP_NUM_THREADS := 1

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) .ci/install.py $(VENV) -c constraints.txt -e '.[dev,docs]'
	@touch $@

setup: $(STAMP) ## make .venv and install descant into it, once

demo: setup ## train agents on counterpoint, measure them, write a report to read, see and hear
	@$(BIN)/descant bench quick --out $(DEMO)

test: setup ## run the tests; ARGS="-k name" chooses
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: lint types docs wheel ## what CI checks beside the tests: style, types, the documentation, the wheel

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy descant $(WINGS)

# Every link and anchor must lead somewhere; nothing is fetched. (Without --quiet, which would hide what is wrong.)
docs: setup ## the documentation as a site: open site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Built from the sdist, installed where nothing else is, and tried from outside the checkout.
wheel: setup
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	$(BIN)/python -m build --outdir "$$work/dist" . > "$$work/build.log" 2>&1 || { cat "$$work/build.log"; exit 1; }; \
	ls "$$work/dist"; \
	$(PYTHON) .ci/install.py "$$work/venv" -c $(CONSTRAINTS) "$$work"/dist/*.whl; \
	cd "$$work" && venv/bin/python -I $(CURDIR)/.ci/smoke.py

format: setup ## format the code and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove what was made here, .venv too
	rm -rf $(VENV) build dist results site wandb *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
