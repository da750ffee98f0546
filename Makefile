# Everything a developer does here, one target each; `make help` lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-nightly check verify generate format bench bench-peers clean

# On two cores: a good part of the tests' time is spent waiting, for a lease or a killed server.
JOBS ?= 3
ARGS ?=
UV_VERSION := >=0.13,<0.14
BIN := .venv/bin
UV := .uv/bin/uv

# The first Python that is new enough; `make PYTHON=… …` names another one.
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c '$(ENOUGH)' 2>/dev/null && echo $$name && break; done)
PYTHON_PATH = $$($(PYTHON) -c 'import sys; print(sys.executable)')
SYNC = env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never \
	$(UV) sync --frozen --python "$(PYTHON_PATH)"

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.synced ## Start everything and watch one paid task; ONCE=1 ends after it
	@$(BIN)/tallystick demo $(if $(filter-out 0 no false,$(ONCE)),--once) $(ARGS)

test: .venv/.synced-dev ## Run the tests; ARGS='-k word' for some of them
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-nightly: .venv/.synced-dev ## Run all tests at nightly size; takes hours
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "" --timeout 7200 $(ARGS)

check: .venv/.synced-dev ## Check format, lint, types, imports and generated files
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory verify

verify: .venv/.synced-dev ## Fail if a generated file differs from what the code says
	@$(BIN)/python -m generate --check

generate: .venv/.synced-dev ## Write the generated files: tables, diagrams, catalogues
	@$(BIN)/python -m generate

format: .venv/.synced-dev ## Format the code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/.synced-dev ## Measure this machine with Tallystick on it
	@$(BIN)/python -m bench $(ARGS)

bench-peers: .venv/.synced-peers ## The same, with other task queues beside it
	@$(BIN)/python -m bench --peers $(ARGS)

clean: ## Remove the environment and caches; data in .tallystick stays
	rm -rf .venv .uv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, exactly as uv.lock has it. The smallest is enough to run.
.venv/.synced: uv.lock pyproject.toml | $(UV)
	@echo "Making the environment in .venv …" >&2
	@$(SYNC) --no-dev --inexact
	@touch $@

.venv/.synced-dev: uv.lock pyproject.toml | $(UV)
	@echo "Making the environment for development in .venv …" >&2
	@$(SYNC)
	@touch $@

.venv/.synced-peers: uv.lock pyproject.toml | $(UV)
	@echo "Making the environment with the peers in .venv …" >&2
	@$(SYNC) --group peers
	@touch $@

# uv needs neither `venv` nor `ensurepip`, which some systems leave out of Python; pip is enough.
$(UV):
	@if [ -z "$(PYTHON)" ]; then \
		echo "Tallystick needs Python 3.11 or newer on the PATH, or make PYTHON=/path/to/python3." >&2; \
		exit 1; \
	fi
	@echo "Installing uv in .uv …" >&2
	@rm -rf .uv
	@if $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
			--target .uv 'uv$(UV_VERSION)'; \
	elif $(PYTHON) -m venv .uv >/dev/null 2>&1; then \
		.uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv$(UV_VERSION)'; \
	else \
		rm -rf .uv; \
		echo "$(PYTHON) has neither pip nor venv. Install one (Debian: apt install python3-pip)." >&2; \
		exit 1; \
	fi
