# Two commands do everything on a fresh machine: `make demo` and `make test`. Python 3.11 or newer is all they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo app test test-all test-wheel licences fuzz pytorch3d test-pytorch3d lint bench docs docs-serve web three weights clean

# The environment, remade when the dependencies change.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Synergy needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e ".[app,bfm,demo,docs,eval,onnx,scale,train,video,dev]"
	touch $@

demo: $(VENV)/.installed  ## a page about a photo, a tracked clip and known poses: open demo_out/index.html
	$(BIN)/synergy demo --out demo_out

app: $(VENV)/.installed  ## the web app on this machine
	$(BIN)/synergy app

# One worker for each core, with one thread each.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: $(VENV)/.installed  ## the tests
	$(PYTEST)

test-all: $(VENV)/.installed  ## the slow tests too
	$(PYTEST) -m "slow or not slow"

test-wheel:  ## build sdist and wheel, install them in fresh environments, run the commands of README.md
	$(PYTHON) -m release.test_wheel

licences: $(VENV)/.installed  ## check the licences of all dependencies and write docs/licences.md
	$(BIN)/python -m release.licences

FUZZ_SECONDS ?= 600

fuzz: $(VENV)/.installed  ## search for files that break a reader: make fuzz FUZZ_SECONDS=60 TARGETS="png mat"
	$(BIN)/pip install --quiet -c constraints.txt atheris
	$(BIN)/python -m fuzz $(TARGETS) --seconds $(FUZZ_SECONDS)

pytorch3d: $(VENV)/.installed  ## build pytorch3d for the CPU from its source folder: make pytorch3d SRC=../pytorch3d
	@test -f "$(SRC)/setup.py" || { echo "error: give pytorch3d's source folder, SRC=../pytorch3d" >&2; exit 2; }
	$(BIN)/pip install --quiet -c constraints.txt setuptools wheel "iopath>=0.1.10"
	FORCE_CUDA=0 MAX_JOBS=2 $(BIN)/pip install --no-build-isolation --no-deps "$(SRC)"

test-pytorch3d: $(VENV)/.installed  ## the tests that need pytorch3d
	@$(BIN)/python -c "import pytorch3d" || { echo "error: pytorch3d is not installed, see 'make pytorch3d'" >&2; exit 2; }
	$(BIN)/python -m pytest -m pytorch3d

lint: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed  ## networks next to their peers, stages of a photo, folders of photos: bench.json
	$(BIN)/synergy bench --json bench.json

docs: $(VENV)/.installed  ## the documentation site in site/; a warning is an error
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed  ## the same at http://127.0.0.1:8000, rebuilt when a page changes
	$(BIN)/mkdocs serve

web: $(VENV)/.installed  ## the browser example, a folder for any static host: needs Node.js for onnxruntime-web
	$(BIN)/python examples/web/build.py

# The parts of three.js that the web app uses, as one file in the package. Needs Node.js and a network.
VENDOR := synergy/app/static/vendor
three:  ## bundle three.js for the web app again, after a change of its version or of three.entry.js
	folder=$$(mktemp -d) && npm install --silent --prefix $$folder three@0.187.0 esbuild@0.28.2 && \
	cp $(VENDOR)/three.entry.js $$folder && cp $$folder/node_modules/three/LICENSE $(VENDOR)/three.LICENSE && \
	$$folder/node_modules/.bin/esbuild $$folder/three.entry.js --bundle --minify --format=esm --legal-comments=inline \
	  --outfile=$(VENDOR)/three.js && rm -r $$folder

weights: $(VENV)/.installed  ## train both networks from the data files: make weights DATA=../shared/data OUT=runs/weights
	@test -d "$(DATA)" || { echo "error: give the folder of the data files, DATA=..." >&2; exit 2; }
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/synergy train recipe --data "$(DATA)" --out "$(or $(OUT),runs/weights)"

clean:
	rm -rf $(VENV) demo_out site .mypy_cache .ruff_cache .pytest_cache
