# Every target sets up .venv first when it must; `make help` explains each.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help env demo lab test browser check bench bench-run bench-store bench-write bench-load bench-proposals bench-explore chaos days notebooks lock clean

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
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=5

browser: $(STAMP)  ## run the tests in a real browser (Chromium) alone; screenshots go to build/screenshots
	$(BIN)/python -m pytest -m browser -rs --durations=5

check: $(STAMP)  ## ruff, mypy, notebook pairs in step and without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2
	$(BIN)/python -m pytest tests/test_pairs.py -p no:cacheprovider

bench: $(STAMP) $(VENV)/datacompy/.installed  ## compare 1,000,000 lines with p2c, Polars, DataComPy and pandas; print both tables
	$(BIN)/python bench/compare.py

bench-run: $(STAMP)  ## a whole run on medium data with differences: time, CPU of ours and of the services, memory
	$(BIN)/python bench/run.py

bench-store: $(STAMP)  ## merge and compare 1,000,000 staged lines beside a plain scan and join; fails past its limits
	$(BIN)/python bench/store.py

bench-write: $(STAMP)  ## rows per second of each way to write, beside Microsoft's SDK and bare httpx; then throttled
	$(BIN)/python bench/write.py --windows 4

bench-load: $(STAMP)  ## load 1,000,000 accounts into an empty F&O: rows per second, where the time went, memory
	$(BIN)/python bench/load.py

bench-proposals: $(STAMP)  ## propose pairs among 20,000 rows a side typed twice: precision and recall; fails past its limits
	$(BIN)/python bench/proposals.py

bench-explore: $(STAMP)  ## filter, sort, search a run of 1,000,000 mismatches: milliseconds, memory; fails past its limit
	$(BIN)/python bench/explore.py

chaos: $(STAMP)  ## load 50,000 rows through faults and kills, kill what goes through the store; SEED=n for a given course
	P2C_KILLS=10 $(BIN)/python -m pytest tests/test_route_kills.py
	$(BIN)/python tests/chaos.py $(if $(SEED),--seed $(SEED))

# DataComPy wants an older Polars and pandas than ours: it has a lock and an environment of its own.
$(VENV)/datacompy/.installed: bench/datacompy.lock $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/datacompy
	$(BIN)/uv pip install --quiet --python $(VENV)/datacompy/bin/python --compile-bytecode --require-hashes -r $<
	touch $@

days: $(STAMP)  ## live through 200 business days on an empty sandbox; fails if the systems differ after a day
	$(BIN)/p2c sandbox stop --dir .p2c/days; rm -rf .p2c/days
	$(BIN)/p2c sandbox start --dir .p2c/days --empty --detach
	$(BIN)/p2c sandbox advance --dir .p2c/days --days 200; code=$$?; $(BIN)/p2c sandbox stop --dir .p2c/days; exit $$code

notebooks: $(STAMP)  ## bring each notebook in step with its .py pair
	$(BIN)/jupytext --sync notebooks/*.py

lock:  ## resolve pyproject.toml again into requirements.lock, and what the benchmark adds into bench/datacompy.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet -o requirements.lock
	echo 'datacompy>=1.1' | $(BIN)/uv pip compile - --python-version 3.11 --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet -o bench/datacompy.lock

clean:  ## remove .venv and the folders that runs leave behind
	rm -rf $(VENV) .p2c runs
