# What the project can do, one target each. Needs python3 (3.11 or later, with venv) and make; uses uv where it is on PATH.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := runtime training test development spark
.DEFAULT_GOAL := help
.PHONY: help run install test test-long check openapi demo bench lock clean engines

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

run: $(VENV)/.runtime ## Install the runtime, load the sample population, serve API and console with their worker
	@$(BIN)/mpi run

install: $(VENV)/.development ## Install everything but Spark; `mpi` and `consent` are then in .venv/bin
	@echo "Ready: $(BIN)/mpi --help, $(BIN)/consent --help"

test: engines $(VENV)/.test ## Run the tests on SQLite, and on PostgreSQL with Redis
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests

test-long: engines $(VENV)/.spark ## Run the long tests: races, kills, big files, Spark
	@tools/engines spark
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/long

# The guards that start no server run here too: no drift between tables and revisions, OpenAPI up to date, locks, contracts.
check: $(VENV)/.development ## Check format, lint, types, import contracts, migrations, OpenAPI
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir $(VENV)/.imports
	$(BIN)/pytest -q -m "not engines" tests/guards

openapi: $(VENV)/.runtime ## Write the API's description to docs/openapi.json
	@$(BIN)/mpi openapi --write docs/openapi.json

demo: $(VENV)/.runtime ## Tell the story of one patient from record to release, with readable output
	@$(BIN)/python examples/demo.py

bench: $(VENV)/.development ## Measure, side by side with public tools
	$(BIN)/python benchmarks/run.py

lock: ## Resolve requirements/*.txt anew (needs uv); UPGRADE=1 takes the newest versions
	tools/lock $(if $(UPGRADE),--upgrade)

clean: ## Remove the environment, caches and the embedded database
	rm -rf $(VENV) var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

engines:
	@tools/engines

# Spark comes as source: what builds it must be there first, from a lock.
$(VENV)/.spark: | $(VENV)/.development

# A stamp a lock, so that nothing is installed twice. Each lock holds the ones before it in LOCKS, and so marks them as done.
$(LOCKS:%=$(VENV)/.%): $(VENV)/.%: requirements/%.txt pyproject.toml tools/install
	@PYTHON="$(PYTHON)" tools/install $(VENV) $<
	@for lock in $(LOCKS); do touch $(VENV)/.$$lock; [ $$lock = $* ] && break; done; true
