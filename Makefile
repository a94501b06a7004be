# `make help` lists the targets. Everything runs in .venv, which `make setup` makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check conformance e2e truth real bench golden docs clean

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
	$(BIN)/python -m pytest tests --ignore tests/loadtests --ignore tests/conformance -m "not slow" -n 4 --dist loadfile
	$(BIN)/python -m pytest tests/conformance -n 2  # on a fresh sandbox; waits of its own, so apart from the others
	$(BIN)/python -m pytest tests/loadtests -m "not slow" -n 2  # apart: they hold the load to its schedule

check: setup  ## Format, lint, types, import contracts, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

e2e: setup  ## Experiment x platform, INVALID endings, interruptions, on the sandbox: real runs (7 minutes)
	$(BIN)/python -m pytest tests/truth/test_table.py tests/truth/test_invalid.py tests/truth/test_interrupted.py \
		tests/truth/test_workers.py::test_a_load_inside_the_cluster_proves_the_same -m slow -n 2

conformance: setup  ## What Kubernetes promises, on any cluster: make conformance KUBECONFIG=FILE [IMAGE=NAME]
	$(BIN)/python -m pytest tests/conformance $(if $(KUBECONFIG),--kubeconfig $(KUBECONFIG)) $(if $(IMAGE),--image $(IMAGE))

truth: setup  ## All scripted outages under the real load; renews the table of docs/truth.md (20 minutes)
	$(BIN)/python -m tests.truth.courses

real: setup  ## Same verdicts on a real cluster? make real KUBECONFIG=FILE CONTEXT=NAME [CONFIG=FILE] (40 minutes; docs/parity.md)
	rm -rf runs/parity && mkdir -p runs/parity
	KUBECONFIG=$(KUBECONFIG) $(BIN)/python -m tests.truth.left save --context $(CONTEXT) runs/parity/before.json
	-KUBECONFIG=$(KUBECONFIG) $(BIN)/python -m pytest tests/truth/test_table.py -m slow --bulletproof-out runs/parity/real \
	  --cluster context:$(CONTEXT) $(if $(CONFIG),--cluster-config $(CONFIG))
	KUBECONFIG=$(KUBECONFIG) $(BIN)/python -m tests.truth.left check --context $(CONTEXT) runs/parity/before.json
	-$(BIN)/python -m pytest tests/truth/test_table.py -m slow --bulletproof-out runs/parity/sandbox
	$(BIN)/python -m tests.truth.parity runs/parity/sandbox runs/parity/real

bench: setup  ## The figures of docs/benchmarks.md (8 minutes); every table is printed, an aim that is missed fails at the end
	@status=0; for name in main_job load judge sandbox; do \
	echo "== benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py || status=1; done; exit $$status

golden: setup  ## Renew the golden files, for review
	BULLETPROOF_GOLDEN=1 $(BIN)/python -m pytest tests/reports -q

docs: setup  ## Renew the generated documentation
	$(BIN)/python -m harness.experiment.schema

clean:  ## Remove what was built; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
