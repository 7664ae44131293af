# Everything for a fresh machine with Python and a C compiler: each target makes the virtual environment it needs on
# first use, and builds the native modules again when their sources have changed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
NATIVE := setup.py pyproject.toml $(shell find src gdfast -name "*.py[x]" -o -name "*.px[di]" -o -name "*.h")

.PHONY: demo test test-peers test-fast lint bench bench-quick asv docs linkcheck wheels all-wheels oldest release-check sanitize sanitize-threads clean

# All that the command line can need, so that the next thing tried works: a table of one's own.
demo: $(VENV)/.train
	$(BIN)/gdfast train digits
	@echo 'To see optimizers race: $(BIN)/python -m pip install -e ".[lab]" and then $(BIN)/gdfast lab'

# A process for each CPU; whoever is done first takes over from the others.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

test: lint
	$(PYTEST)

# What `make test` skips for want of the libraries that tests compare with; they are to be in the environment by now.
PEERS = torch|optax|skip..(websockets|anywidget|skl2onnx|thinc|distributed)
PEER_TESTS = $(shell grep -rlE "$(PEERS)" tests --include="test_*.py") tests/project/test_other_tools.py \
	gdfast/torch gdfast/lab gdfast/dask
test-peers: lint
	$(PYTEST) $(PEER_TESTS)

test-fast: $(VENV)/.test
	$(PYTEST) -q -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.report

bench-quick: $(VENV)/.bench
	$(BIN)/python -m benchmarks.report --quick

# gdfast's own times at these commits, a range as git has them, and pages of all that were timed so far: benchmarks/README.md
COMMITS ?= HEAD^!
ASV = cd benchmarks/over_time && $(abspath $(BIN))/python -m asv
asv: $(VENV)/.asv
	$(ASV) machine --yes
	$(ASV) run --skip-existing-successful --show-stderr "$(COMMITS)"
	$(ASV) publish

# The documentation site, in build/site/html; each of Sphinx's warnings is an error.
docs: $(VENV)/.docs
	$(BIN)/python docs/make_site.py

linkcheck: docs
	$(BIN)/python docs/site/check_links.py build/site/html

# Wheels for every Python of this machine's system, in dist, by the settings in pyproject.toml (on Linux in containers).
all-wheels: $(VENV)/.release
	$(BIN)/python -m cibuildwheel --output-dir dist

# Whether a release can be made of this commit; with TAG=v1.2.3, of that version. Leaves the sdist and a wheel in dist.
release-check: $(VENV)/.test $(VENV)/.release
	rm -rf dist build/release
	GDFAST_TAG=$(TAG) $(BIN)/python -m pytest -q tests/project/test_release.py
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build/release && bin/python $(CURDIR)/tests/helpers/smoke.py

$(VENV)/.asv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "asv>=0.6.4" virtualenv
	touch $@

$(VENV)/.release:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build twine "cibuildwheel>=3.2"
	touch $@

$(VENV)/.%: $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@

# The native modules with gcc's address and undefined-behaviour sanitizers, in a folder of their own, under the fast tests
# that run in one process (CPython's own allocations are not freed at exit, hence no leak check).
SANITIZE_TESTS := $(patsubst %,tests/%,arrays $(patsubst %,engine/test_%.py,exact norm native_checks rows matrices loops fuzz_step) \
	$(patsubst %,stepping/test_%.py,guard averaging groups statedict copies accumulate pieces) \
	$(patsubst %,optimizers/test_%.py,lbfgs layerwise lookahead schedule_free) \
	$(patsubst %,sklearn/test_sklearn_%.py,linear_exact mlp_gradients sparse) \
	$(patsubst %,torch/test_torch_%.py,memory kinds hostile sparse))
# $(call sanitized,SANITIZERS,LIBRARIES,VARIABLES,TESTS)
define sanitized
	rm -rf build/sanitize && mkdir -p build/sanitize && cp -r src gdfast tests setup.py pyproject.toml README.md LICENSE build/sanitize
	find build/sanitize -name '*.so' -delete
	cd build/sanitize && GDFAST_SANITIZE=$(1) $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd build/sanitize && LD_PRELOAD="$(foreach name,$(2),$$(gcc -print-file-name=lib$(name).so))" $(3) \
		PYTHONPATH=$(CURDIR)/build/sanitize $(CURDIR)/$(BIN)/python -m pytest -q -p no:cacheprovider $(4)
endef
COMMA := ,

sanitize: $(VENV)/.test
	$(call sanitized,address$(COMMA)undefined,asan ubsan,ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc,$(SANITIZE_TESTS))

# The same with gcc's thread sanitizer, under the tests that have several threads. It cannot see that callers of OpenMP wait, so
# what uses that is left out. Its own thread takes signals, its memory counts as pages that were touched, and it stops a forked
# process that starts threads unless told not to. OpenBLAS has threads of its own, and waits in ways it does not see either.
THREAD_TESTS := $(patsubst %,tests/%.py,$(patsubst %,engine/test_%,team threads forks rows norm matrices process) \
	arrays/test_rows_checks stepping/test_native_plans) \
	-k "not sanitizer and not backend and not whoever and not signals and not looks_at_no_row"
sanitize-threads: $(VENV)/.test
	$(call sanitized,thread,tsan,TSAN_OPTIONS=die_after_fork=0 OPENBLAS_NUM_THREADS=1,$(THREAD_TESTS))

# The sdist, and the wheel of this machine's Python, built twice, compared, repaired and tried without a compiler.
# WHEELS="--beside FOLDER" names a site-packages folder with PyTorch, to be imported beside the wheel in every order.
wheels:
	$(PYTHON) tools/wheels.py $(WHEELS)

# The oldest versions that pyproject.toml allows, in an environment of their own.
oldest:
	$(PYTHON) tools/oldest.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find gdfast -name '*.so' -delete
