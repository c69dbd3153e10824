# make demo     tag the example music and print the tags
# make test     run the tests
# make faults   kill, starve and mislead runs on purpose, and print what was survived (half an hour)
# make soak     two thousand tracks in a row: is memory flat?
# make check    what must be green before a change is merged
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The constraints name a CPU build of torch where that is enough: a bare "torch" brings several GB of CUDA.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test faults soak check clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("audiopatch needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

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
	$(BIN)/python -m pytest

faults: $(VENV)/.test
	$(BIN)/python -m pytest -m fault

soak: $(VENV)/.test
	$(BIN)/python -m pytest -m fault tests/faults/test_soak.py

check: $(VENV)/.dev
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/pyright
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) build
