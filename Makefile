# Everything works on a fresh clone: each target installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := pytest -q -n 2 --dist loadgroup

export PATH := $(BIN):$(PATH)
export MLFLOW_TRACKING_URI ?= http://127.0.0.1:5000
export MLFLOW_DISABLE_TELEMETRY ?= true
# Compiled modules make every later start of MLflow seconds faster.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install up demo check test test-all lint format mlproject bench migrate clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## create .venv with the exact set of requirements.lock

$(STAMP): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	touch $(STAMP)

up: install  ## start MLflow, serving and a worker, with a key in var/key; Ctrl-C stops all three
	python -m serving.keys make --label "make up" --file "$${DATA_DIR:-var}/key"
	honcho start

demo: install  ## walk the closed loop on real bars (DEMO_EXIT=1 stops at the end)
	python -m demo.closed_loop $(if $(DEMO_EXIT),--exit)

migrate: install  ## bring the engine database to this code's schema
	python -m registry.database

mlproject: install  ## write MLproject from the parameter classes
	python -m pipelines.mlproject

format: install  ## rewrite the code in the project's form
	ruff format .
	ruff check --fix .

lint: install
	ruff format --check .
	ruff check .
	mypy
	lint-imports

check: lint  ## format, lint, types, import contracts, fast tests (2 minutes on 2 idle cores)
	$(PYTEST) -m "not slow and not integration"

test: lint  ## check, and every test not marked slow (5 minutes)
	$(PYTEST) -m "not slow"

test-all: lint  ## every test (12 minutes)
	$(PYTEST)

bench: install  ## the figures of docs/performance.md
	python -m bench.loop

clean:  ## remove everything the engine wrote
	rm -rf var .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
