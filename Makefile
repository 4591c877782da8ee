# `make test` and `make demo` need Python 3.11 or newer, make and apt; everything else is fetched into .venv/ and .servers/.
PYTHON ?= python3
BIN := .venv/bin
PATHS := myrepetl_dagster scripts tests bench demo
FAST := tests/unit tests/simulation tests/architecture/test_imports.py tests/architecture/test_contracts.py
# The tests start Python hundreds of times: it should not compile the project each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast lint soak bench demo demo-ui demo-servers dev format clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## .venv/ with what requirements.lock pins, and this project
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed as $(PYTHON): apt-get install python3, or make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) scripts/setup.py

test: lint ## linters, types, every test but the soak (minutes)
	$(BIN)/pytest -n 4 --dist worksteal

test-fast: setup ## unit tests with fewer examples, the simulation with fewer seeds (seconds)
	MYREPETL_SIMULATION_SEEDS=2000 $(BIN)/pytest -n 2 --dist worksteal --hypothesis-profile fast $(FAST)

lint: setup ## linters, imports between rooms, and types
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy

soak: setup ## the long tests, with full counts (hours)
	$(BIN)/pytest -m soak

bench: setup ## measurements; no test depends on them
	$(BIN)/python bench/decoder.py
	$(BIN)/python bench/compare.py
	$(BIN)/python bench/latency.py

demo: setup ## two sources, a target, a live writer: replicated and compared
	@$(BIN)/python scripts/demo.py run

demo-ui: setup ## Dagster's UI on the demo's servers and data
	@$(BIN)/python scripts/demo.py ui

demo-servers: setup ## servers with rows and a writer, for docs/tutorial.md
	@$(BIN)/python scripts/demo.py servers

dev: setup ## Dagster's UI on the pipeline file in MYREPETL_CONFIG
	$(BIN)/dagster dev

format: setup ## the code as the linters want it
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

clean: ## everything that the other targets made, but the fetched servers
	rm -rf .venv .demo .demo-servers .dagster_home .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.servers/*' -prune -exec rm -rf {} +
