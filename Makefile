# make lab        set up and open JupyterLab at lesson 00 (LAB_FLAGS are passed on)
# make test       set up and run everything that CI runs
# make course     set up and run every lesson without a browser; pages in build/
# make notebooks  rebuild notebooks/, exercises/ and solutions/ from notebooks/src/
# make clean      remove what the others made (the environment too)

PYTHON ?= python3
LAB_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: lab test course notebooks clean
.DEFAULT_GOAL := lab

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.course: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.course
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

lab: $(VENV)/.course
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_FLAGS)

test: $(VENV)/.dev
	$(BIN)/python tools/run_tests.py

course: $(VENV)/.dev
	$(BIN)/python tools/run_course.py

notebooks: $(VENV)/.dev
	$(BIN)/python tools/build_notebooks.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
