# Every target sets up .venv first when it must; `make help` explains each.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help env demo lab test check notebooks lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(STAMP): requirements.lock bootstrap.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r bootstrap.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

env: $(STAMP)  ## make .venv with the locked versions, hashes checked

demo: $(STAMP)  ## start a sandbox with differences in it, run every task, print the outcomes and the report's path
	$(BIN)/p2c demo

lab: $(STAMP)  ## open JupyterLab on the notebooks, with the sandbox running
	$(BIN)/p2c sandbox start --detach --drift
	$(BIN)/jupyter lab --notebook-dir=notebooks; $(BIN)/p2c sandbox stop

test: $(STAMP)  ## run every test: units, both services over HTTP, notebooks
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)  ## ruff, mypy, notebook pairs in step and without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_pairs.py -p no:cacheprovider

notebooks: $(STAMP)  ## bring each notebook in step with its .py pair
	$(BIN)/jupytext --sync notebooks/*.py

lock:  ## resolve pyproject.toml again into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet -o requirements.lock

clean:  ## remove .venv and the folders that runs leave behind
	rm -rf $(VENV) .p2c runs
