# `make demo` and `make test` do all the set-up on a machine that has Python 3.10 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Only what needs the reader: no notice of newer pips, nor setuptools' advice to all who install a folder in place.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore:Editable $(BIN)/python -m pip install --quiet

.PHONY: demo test test-fast mutants lint docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train and sample the embedded recipes: pictures, sounds and one HTML page in demo/"
	@echo "make test       run all tests, one process for each processor"
	@echo "make test-fast  run the tests that take less than a second each: under a minute on two processors"
	@echo "make mutants    list every planted error and the test that caught it"
	@echo "make lint       ruff, pyright and the layers of the package"
	@echo "make docs       build the pages of docs/ and the API in site/"
	@echo "make bench      print orders of convergence, cost a step and training throughput"

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "sonolux needs Python 3.10 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(BIN)/.ready
	$(BIN)/python examples/demo.py --out demo

# A file's tests stay in one process (loadfile), so that its fixtures are made once; tiny trained runs are shared.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

test: $(BIN)/.ready
	$(PYTEST)

test-fast: $(BIN)/.ready
	$(PYTEST) -m "not slow"

# A numeric test that cannot fail proves nothing: product code is changed, and the test must notice.
mutants: $(BIN)/.ready
	$(BIN)/python -m pytest --mutants

# Pyright must see the package under its own name; the link stands in for an installed copy.
build/typing/sonolux:
	mkdir -p build/typing && ln -sfn ../.. build/typing/sonolux

lint: $(BIN)/.ready build/typing/sonolux
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	cd build/typing && PYTHONPATH=. $(abspath $(BIN))/lint-imports --no-cache ../../pyproject.toml

build/.docs: pyproject.toml | $(BIN)/.ready
	$(PIP) --editable '.[docs]'
	@mkdir -p build && touch $@

docs: build/.docs build/typing/sonolux
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --strict

bench: $(BIN)/.ready
	$(BIN)/python benchmarks/orders.py
	$(BIN)/python benchmarks/step_cost.py
	$(BIN)/python benchmarks/throughput.py

clean:
	rm -rf $(VENV) build demo site
