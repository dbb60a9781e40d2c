# Two commands set everything up, in any order: `make run` and `make test`.
# The rest are short cuts. Every recipe that needs the environment brings it up to date first.

# An environment keeps the Python it was made with; PYTHON=python3.12 makes it anew.
PYTHON ?= $(or $(wildcard .venv/bin/python),python3)
BIN := .venv/bin
PROMPT ?= What is the capital of France?
BENCH ?= startup
# Processes that share the tests; JOBS=0 runs them in one, for a debugger.
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help ready run serve test check fix e2e bench docs train-eval lock clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

ready: ## only set up: .venv, pinned packages, llama.cpp compiled for this machine
	@$(PYTHON) -m tools.bootstrap

run: ready ## answer a prompt with the bundled model (PROMPT="…" for another)
	@$(BIN)/trillama run tiny "$(PROMPT)" </dev/null

serve: ready ## the server, in the foreground
	@$(BIN)/trillama serve

test: ready ## all tests
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist worksteal -m "not slow and not gpu and not soak" $(ARGS)

check: ready ## style, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix: ready ## mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

e2e: ready ## the tests that load llama.cpp, the slow ones too
	@$(BIN)/python -m pytest -m "real and not gpu and not soak" $(ARGS)

bench: ready ## measure: start and weight, or BENCH=versus ARGS="--model m.gguf" (bench/README.md)
	@$(BIN)/python -m bench.$(BENCH) $(ARGS)

docs: ready ## do the documents agree with the code?
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_architecture.py

train-eval: ready ## how good is the bundled model?
	@$(BIN)/python -m training.evaluate $(or $(ARGS),trillama/data/tiny.gguf)

lock: ready ## pin every dependency anew, from pyproject.toml (needs uv)
	@$(BIN)/python -m tools.lock

clean: ## remove the environment and all caches of this checkout
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
