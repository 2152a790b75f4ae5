# Two commands: `make demo` and `make test`. Both set everything up first, in .venv.

VENV := .venv
BIN := $(VENV)/bin
# tests in as many processes as there are cores, each of one thread
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal
# the first interpreter that starts and is 3.11 or newer (a shim of a missing version is passed over)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)

# OpenSeadragon for `pathology serve`; without npm the page loads it from a CDN, checked by its hash
VENDOR := pathology/viewer/static/vendor
SCRIPT := $(VENDOR)/openseadragon.min.js

.PHONY: help setup viewer demo test check format lint types fast-test bench clean

help:
	@echo "make demo    set up, simulate a cohort, tile, normalize, report"
	@echo "make test    set up and run all tests"
	@echo "make viewer  fetch the page's script with npm, so that \`pathology serve\` needs no network"
	@echo "make check   format, lint, types and fast tests: the gate before a commit"
	@echo "make bench SLIDE=path   measure tiling against peers on a slide"

# what a new environment takes, most of it PyTorch's build for GPUs
NEEDED_GB := 8

define install
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@test -x $(BIN)/python || df -Pk . | awk 'NR == 2 && $$4 < $(NEEDED_GB) * 1000000 { \
		printf "The libraries take $(NEEDED_GB) GB, and %.1f are free on %s: make room, or add NEEDED_GB=N for a smaller build of PyTorch\n", $$4 / 1e6, $$6; exit 1 }'
	@test -x $(BIN)/python || { echo "Making $(VENV) with $(PYTHON)"; \
		$(if $(UV),uv venv -q --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV)); }
	$(if $(UV),VIRTUAL_ENV=$(VENV) uv pip install -q --compile-bytecode,$(BIN)/python -m pip install -q --disable-pip-version-check) \
		-c constraints.txt --config-settings editable_mode=compat -e '$(1)'
	@$(BIN)/python -m compileall -q pathology pipelines
	@touch $(2)
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(call install,.,$@)

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(call install,.[dev],$@)
	@touch $(VENV)/.installed

setup: $(VENV)/.installed-dev viewer

viewer: $(SCRIPT)

# where npm or the network is missing, nothing fails: the next make tries again
$(SCRIPT): package-lock.json
	@if npm --version >/dev/null 2>&1 && npm ci --silent --prefer-offline --fetch-timeout=30000 --fetch-retries=1 >/dev/null 2>&1; then \
		mkdir -p $(VENDOR) && cd node_modules/openseadragon && \
		cp LICENSE.txt $(CURDIR)/$(VENDOR)/openseadragon.LICENSE.txt && \
		cp build/openseadragon/openseadragon.min.js $(CURDIR)/$(SCRIPT); \
	else echo "npm could not install OpenSeadragon: pathology serve will load it from a CDN"; fi

demo: $(VENV)/.installed viewer
	$(BIN)/pathology demo --out demo

test: $(VENV)/.installed-dev viewer
	$(PYTEST)

fast-test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow and not browser"

format: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

check: format lint types fast-test

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/tiling.py $(SLIDE)

clean:
	rm -rf $(VENV) $(VENDOR) node_modules demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
