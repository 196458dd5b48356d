# make quickstart   set up, run the main job, print where its report lies
# make test         set up, run every check but the slow ones
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
T4SPP := $(PY) -m t4spp
STAMP := $(VENV)/.installed
OUTPUT ?= runs/quickstart
# one thread a worker: more would only wait for each other
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help venv quickstart test test-all lint clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(STAMP) ## make the virtual environment and install into it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("t4spp needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --editable '.[dev,all]'
	@touch $@

quickstart: $(STAMP) ## score nano on RefShapes, then swap the scheme; prints the reports' paths
	$(T4SPP) run configs/experiments/quickstart.yaml --output $(OUTPUT)/next-brick --overwrite
	$(T4SPP) run configs/experiments/quickstart-swap.yaml --set scheme.name=image-rrle \
		--output $(OUTPUT)/image-rrle --overwrite
	$(T4SPP) report $(OUTPUT)/next-brick $(OUTPUT)/image-rrle --output $(OUTPUT)/comparison.html
	@echo "report: $(OUTPUT)/next-brick/report.html"
	@echo "both schemes: $(OUTPUT)/comparison.html"

lint: $(STAMP) ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint ## set up, then ruff, mypy and the quick tests
	$(PYTEST) -m "not slow and not gpu"

test-all: lint ## the same with the slow tests, and the GPU ones where there is a GPU
	$(PYTEST)

clean: ## remove what the targets above made, runs/ excepted
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
