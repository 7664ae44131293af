# Everything for a fresh machine with Python and a C compiler: each target makes the virtual environment it needs on
# first use, and builds the native modules again when their sources have changed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NATIVE := setup.py pyproject.toml $(wildcard src/*.pyx src/*.pxd src/*.h src/*/*.pxi)

.PHONY: demo test test-fast lint bench bench-quick sanitize clean

demo: $(VENV)/.demo
	$(BIN)/gdfast train digits

# gdfast.torch can only be tested where PyTorch is installed.
UNCOVERED = $(shell $(BIN)/python -c "import importlib.util as u; print('' if u.find_spec('torch') else 'gdfast/torch/*')")

# A process for each CPU; whoever is done first takes over from the others.
SIDE_BY_SIDE := -n auto --dist worksteal

test: lint
	GDFAST_UNCOVERED='$(UNCOVERED)' $(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term-missing:skip-covered --cov-fail-under=100

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -q -m "not slow"

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

# The native modules with gcc's address and undefined-behaviour sanitizers, in a folder of their own, under the fast tests
# that run in one process (CPython's own allocations are not freed at exit, hence no leak check).
SANITIZE_TESTS := $(patsubst %,tests/test_%.py,exact guard averaging norm binding groups statedict copies accumulate pieces rows \
	rows_checks bound subclasses native_checks fuzz_step lbfgs layerwise matrices lookahead schedule_free sklearn_linear_exact sklearn_mlp_gradients torch_memory)
sanitize: $(VENV)/.test
	rm -rf build/sanitize && mkdir -p build/sanitize && cp -r src gdfast setup.py pyproject.toml README.md LICENSE build/sanitize
	rm -f build/sanitize/gdfast/*.so
	cd build/sanitize && GDFAST_SANITIZE=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd build/sanitize && LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH=$(CURDIR)/build/sanitize \
		$(CURDIR)/$(BIN)/python -m pytest -q -p no:cacheprovider $(addprefix $(CURDIR)/,$(SANITIZE_TESTS))

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find gdfast -name '*.so' -delete
