# Every target sets up .venv; a machine needs Python 3.10 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Quiet: no notice of newer versions of pip, and no warning of setuptools about editable installs.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore:Editable $(BIN)/python -m pip install --quiet

.PHONY: demo test test-fast mutants lint docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       ask the packaged models, train the recipe shapes, and write one HTML page in demo/"
	@echo "make test       run all tests in parallel, one process per processor"
	@echo "make test-fast  run the tests that take less than 0.3 s each"
	@echo "make mutants    list every planted error with the test that catches it"
	@echo "make lint       check with ruff, pyright and import-linter (layers)"
	@echo "make docs       build the docs site (guides, recipes, API) in site/"
	@echo "make bench      print orders of convergence, time per sampling step and training throughput"

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "sonolux needs Python 3.10 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(BIN)/.ready
	$(BIN)/python examples/demo.py --out demo

# The tests of a file run in one process (loadfile), so that its fixtures are made once; tiny trained runs are shared.
# The order of files is that of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(BIN)/.ready
	$(PYTEST)

test-fast: $(BIN)/.ready
	$(PYTEST) -m "not slow"

# A numeric test must be able to fail: errors are planted in product code, and the test must catch each.
mutants: $(BIN)/.ready
	$(BIN)/python -m pytest --mutants

# Pyright and import-linter need the package under its own name; the link serves as an installed copy.
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
