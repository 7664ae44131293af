# Everything for a fresh machine with Python and a C compiler: each target makes the virtual environment it needs on
# first use, and builds the native modules again when their sources have changed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NATIVE := setup.py pyproject.toml $(wildcard src/*.pyx src/*.pxd src/*.h src/rules/*.pxi)

.PHONY: demo test test-fast lint bench bench-quick clean

demo: $(VENV)/.demo
	$(BIN)/gdfast demo

test: lint
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=100

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.report

bench-quick: $(VENV)/.bench
	$(BIN)/python -m benchmarks.report --quick

$(VENV)/.%: $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find gdfast -name '*.so' -delete
