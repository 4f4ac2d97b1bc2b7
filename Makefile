# Two commands do everything on a fresh machine: `make demo` and `make test`. Python 3.10 or newer is all they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-all lint bench clean

# The environment, remade when the dependencies change.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e ".[train,dev]"
	touch $@

demo: $(VENV)/.installed  ## landmarks, pose and mesh of a real photo: open demo_out/index.html
	$(BIN)/synergy demo --out demo_out

test: $(VENV)/.installed  ## the tests
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed  ## the slow tests too
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed  ## latency, throughput, size
	$(BIN)/synergy bench

clean:
	rm -rf $(VENV) demo_out .mypy_cache .ruff_cache .pytest_cache
