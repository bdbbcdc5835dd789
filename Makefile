# Everything a newcomer types. Each target sets up what it needs in .venv first.
.PHONY: help demo test check format lint types imports bench bench-quick soak lock clean
.DEFAULT_GOAL := help

# The first Python that is new enough, unless PYTHON=... names one.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -e 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-13s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; name it with: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up .venv with $(PYTHON) (once, about half a minute)"
	@$(PYTHON) -m venv .venv || { echo "This Python cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)  ## Play a whole roaming charge, and what a hub shares
	@$(BIN)/ocpi-hub demo $(ARGS)

test: $(READY)  ## Run all tests (ARGS="-k name" for some)
	@$(BIN)/python -m pytest $(ARGS)

check: lint types imports test  ## Everything CI checks: format, lint, types, imports, tests

format: $(READY)  ## Format the code
	@$(BIN)/ruff check --quiet --fix .; $(BIN)/ruff format .

lint: $(READY)  ## Check format and lint
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(READY)  ## Check types (mypy strict)
	@$(BIN)/mypy

imports: $(READY)  ## Check which room imports which
	@$(BIN)/lint-imports --no-cache

bench: $(READY)  ## Measure everything beside nginx and others, ten minutes (ARGS="--only forward", "--list")
	@$(BIN)/python -m tests.bench $(ARGS)

bench-quick: $(READY)  ## The same with few short rounds; fails only when something is grossly lost
	@$(BIN)/python -m tests.bench --quick $(ARGS)

soak: $(READY)  ## Disturb two hubs and 50 platforms for minutes, and compare everything (ARGS="--minutes 5")
	@$(BIN)/python -m tests.soak $(ARGS)

lock:  ## Write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		pyproject.toml --group dev -o requirements.lock

clean:  ## Remove what the other targets made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
