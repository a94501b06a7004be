# `make help` lists the targets. Everything runs in .venv, which `make setup` makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check truth real bench golden docs clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready  ## The virtual environment with everything that is needed

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup  ## The main job: experiments/gpu-pod-kill.yaml on the embedded sandbox
	$(BIN)/bulletproof run experiments/gpu-pod-kill.yaml

test: setup  ## All fast tests
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile

check: setup  ## Format, lint, types, import contracts, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile

truth: setup  ## The whole table experiment x platform, on the sandbox (minutes)
	$(BIN)/python -m pytest tests/truth -m slow

real: setup  ## The same table on a real cluster: make real KUBECONFIG=FILE CONTEXT=NAME
	KUBECONFIG=$(KUBECONFIG) $(BIN)/python -m pytest tests/truth/test_table.py -m slow --cluster context:$(CONTEXT)

bench: setup  ## The figures of docs/benchmarks.md
	$(BIN)/python benchmarks/main_job.py; $(BIN)/python benchmarks/load.py

golden: setup  ## Renew the golden files, for review
	BULLETPROOF_GOLDEN=1 $(BIN)/python -m pytest tests/reports -q

docs: setup  ## Renew the generated documentation
	$(BIN)/python -m harness.experiment.schema

clean:  ## Remove what was built; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
