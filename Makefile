# `make demo` and `make test` set up all they need: a virtual environment in .venv and the native build.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := $(shell find native cmake -type f) CMakeLists.txt
CXX_FILES := $(shell git ls-files 'native/*.cpp' 'native/*.hpp' 'tests/native/*.cpp' 'tests/native/*.hpp')
TIDY_BUILD := build/tidy

.PHONY: help demo test lint format clean
.DEFAULT_GOAL := help

help: ## Show this list.
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/python-ready: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"fico needs Python 3.11 to 3.13 and $(PYTHON) is %d.%d: set PYTHON=" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet 'scikit-build-core>=1.1' 'nanobind>=2.4' 'cmake>=3.25' ninja 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cupti==13.0.*'
	@touch $@

$(VENV)/ready: $(VENV)/python-ready $(NATIVE_SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev]'
	@touch $@

demo: $(VENV)/ready ## Show tenants sharing an emulated GPU; no GPU needed.
	$(BIN)/fico demo

test: $(VENV)/ready ## Run all tests that need no GPU, the native ones under sanitizers too.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/native/run_sanitized.sh address -n 2
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/native/run_sanitized.sh thread -n 2

lint: $(VENV)/ready ## Check style and types: ruff, mypy, clang-format, clang-tidy.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B $(TIDY_BUILD) -G Ninja -DFICO_TEST_PROGRAMS=ON -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python > /dev/null
	$(BIN)/python $(VENV)/bin/run-clang-tidy.py -quiet -j 2 -clang-tidy-binary $(BIN)/clang-tidy -p $(TIDY_BUILD) '/(native|tests/native)/[^/]*'

format: $(VENV)/ready ## Bring all sources into the project's form.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

clean: ## Remove the environment and everything built.
	rm -rf $(VENV) build
