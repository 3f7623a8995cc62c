.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three on two cores: half of their time they wait for what they started. Each starts its own Valkey and PostgreSQL.
TEST_PROCESSES ?= 3

.PHONY: browser cluster help setup demo head-on-digits serve test proof check format bench catalogue clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/installed ## Make the virtual environment in .venv and install everything

$(VENV)/installed: constraints.txt pyproject.toml client/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and pinned: nothing that is resolved later may pull another build of it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e 'client[pandas,lightning,transformers,keras,tensorboard,mlflow]' -e '.[worker,embedded,otel,demo,test,proof,bench,check]'
	touch $@

demo: setup ## Train a network on digits and watch its features collapse, through the running service (KEEP=1: leave it running)
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

head-on-digits: setup ## Hold a real network's deep head against the theory's losses, through the running service: about a minute
	$(BIN)/python examples/head_on_digits.py

serve: setup ## Run the service on http://127.0.0.1:8000
	$(BIN)/collapse serve

cluster: setup ## Run the topology of docker-compose.yml here, without containers (CLUSTER="--workers 4 --port 8000")
	$(BIN)/python -m deployment.cluster $(CLUSTER)

browser: setup ## Install a browser for the tests of the pages, where there is none and it may be done (Debian, as root)
	$(BIN)/python tests/browsing.py

# One thread each: threads of several processes on few cores wait for each other, at many times the cost. And bytecode is
# kept, whatever is set: else each of the hundreds of processes that the tests start would compile the project again.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup browser ## Run all tests, on the real parts
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup

proof: setup ## Prove what docs/reliability.md promises: kills, load, bad input, full disks …; 20 minutes (PROOF_SEED=7: by another lot)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest proofs $(PROOF)

check: setup ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --target-version py39 client
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Measure, against named alternatives (BENCH="metrics --neural-collapse DIR": one of them, with its options)
	$(BIN)/python -m benchmarks $(BENCH)

catalogue: setup ## Search the optima of all cells that have none yet; hours (CATALOGUE="--again --classes 15": again, chosen)
	$(BIN)/python -m analysis.dufm.cataloguing $(CATALOGUE)

clean: ## Remove what was built (not the data of a service)
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache
