# `make help` lists the targets. PYTHON picks the interpreter that the virtual environment is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= examples/digits.yaml
EXAMPLE ?= mnist
SEEDS ?= 5
SECONDS ?= 120
MODEL ?= digits
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SOURCES := components pipelines tests benchmarks examples docs/hooks.py images/sbom
RANK = --try grpo_finetuning.lora.rank=$(1) grpo_finetuning.lora.alpha=$(1) grpo_finetuning.learning_rate=3e-3
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

.PHONY: setup
setup: $(VENV)/.ready  ## Make the virtual environment from requirements.lock, every download checked by its hash

# Not from pyproject.toml too: touching that file must not renew the environment under a running job.
$(VENV)/.ready: requirements.lock requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "flowmap needs Python 3.11 or newer; say PYTHON=/path/to/python3.11"; exit 1; }
	@test ! -L $(VENV) || { echo "$(VENV) is a link, and making it anew would empty what it points to: remove the link, or touch $@"; exit 1; }
	@echo "setting up $(VENV) from requirements.lock ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(UV) install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: run
run: setup  ## Run the whole pipeline on examples/digits.yaml (CONFIG=FILE for another)
	@$(BIN)/flowmap run $(CONFIG)

.PHONY: test
test: setup  ## Run the tests, but for the few whole runs of test-slow
	@$(BIN)/python -m pytest $(PARALLEL)

.PHONY: coverage
coverage: setup  ## Run them with coverage, of what runs in the tests' own processes; twice the seconds in places
	@$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered

.PHONY: test-slow
test-slow: setup  ## Run the slow tests too: whole runs of the pipeline
	@$(BIN)/python -m pytest $(PARALLEL) -m slow

.PHONY: test-cluster
test-cluster: setup  ## Run the tests that need a Kubernetes, on the one KUBECONFIG points to (tests/cluster/conftest.py)
	@$(BIN)/python -m pytest tests/cluster

.PHONY: test-kfp
test-kfp: setup  ## Run the tests that need a Kubeflow Pipelines, FLOWMAP_KFP_HOST's (tests/kubeflow/conftest.py)
	@$(BIN)/python -m pytest tests/kubeflow

.PHONY: check
check: setup  ## Lint and format (ruff), strict types (mypy)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy

.PHONY: format
format: setup  ## Let ruff mend what it can
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

.PHONY: bench-engine
bench-engine: setup  ## Seconds and memory of GRPO, DeepSpeed engine against a bare PyTorch loop, in turn in one run
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/engine.py

.PHONY: bench-run
bench-run: setup  ## Where a run's seconds go, the first time and reused (CONFIG=FILE for another than digits)
	@$(BIN)/python benchmarks/run.py $(CONFIG)

.PHONY: bench-seeds
bench-seeds: setup  ## Mean and range of every figure over seeds (EXAMPLE=digits or mnist, SEEDS=5); about 40 minutes
	@$(BIN)/python benchmarks/seeds.py examples/$(EXAMPLE).yaml --seeds $(SEEDS) --plot docs/$(EXAMPLE)-seeds.png

.PHONY: bench-sweep
bench-sweep: setup  ## Low-rank adapters of several ranks on tiny_flux, three seeds each; about 80 minutes
	@$(BIN)/python -m benchmarks.sweep examples/tiny_flux.yaml --try $(foreach rank,2 8 32,$(call RANK,$(rank)))

.PHONY: bench-converting
bench-converting: setup  ## A model of many steps made into a map of two times, by all weights and by adapters; about 20 minutes
	@$(BIN)/python -m benchmarks.converting

.PHONY: bench-lineage
bench-lineage: setup  ## What a question costs in a store of 100,000 records, by its edges and by the index; about 10 minutes
	@$(BIN)/python -m benchmarks.lineage

.PHONY: bench-store
bench-store: setup  ## Seconds of artifacts to and from a MinIO, beside its own client, and of hashes (MC=mc); some minutes
	@$(BIN)/python -m benchmarks.store --mc $(or $(MC),mc)

.PHONY: bench-encoding
bench-encoding: setup  ## Pictures a second into shards of latents, against the bare encoders; some minutes
	@$(BIN)/python -m benchmarks.encoding

.PHONY: bench-asking
bench-asking: setup  ## What a reward service costs a rollout, asked while others are drawn and at the end
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.asking

.PHONY: bench-gpu
bench-gpu: setup  ## Memory of GRPO against its plan, and bare passes in an update, on the GPU that is here
	@$(BIN)/python -m benchmarks.gpu

.PHONY: bench-scale
bench-scale: setup  ## What a run takes on 1 to 512 GPUs and with 100 million pictures, from pieces measured here
	@$(BIN)/python -m benchmarks.scale

.PHONY: bench-gate
bench-gate: setup  ## How often the gate promotes without a gain, and how small a gain it sees; about 20 minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.gate

.PHONY: bench-networks
bench-networks: setup  ## MLP and transformer on the same seconds (EXAMPLE=digits or mnist, SECONDS=120); about 20 minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.networks examples/$(EXAMPLE).yaml --seconds $(SECONDS)

.PHONY: bench-sampling
bench-sampling: setup  ## Milliseconds a sample at 1, 2, 4 evaluations and 50 steps, torch and ONNX (MODEL=digits)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.sampling $(MODEL)

.PHONY: bench-methods
bench-methods: setup  ## Flow-Map GRPO beside its rivals, five seeds on points; about 30 minutes (ABLATE=kernel for a setting)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.methods $(if $(ABLATE),--ablate $(ABLATE))

.PHONY: faults
faults: setup  ## Write the tables of docs/reliability.md anew, from what the tests say of the faults that they show
	@$(BIN)/python -m tests.faults

.PHONY: docs
docs: setup  ## Build the documentation site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.PHONY: images
images:  ## Build the images with docker, podman or buildah and look inside each (BASE, CERTIFICATES: see images/build)
	@images/build

.PHONY: images-lock
images-lock:  ## Push them and write their digests to images/images.lock (REPOSITORY=registry.example.com/flowmap)
	@images/build --lock $(REPOSITORY)

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 pyproject.toml

.PHONY: lock
lock: setup  ## Resolve pyproject.toml anew into requirements.lock, and the images' locks from it (TORCH_BACKEND=cpu for the image cpu)
	@$(COMPILE) --universal --all-extras -o requirements.lock
	@$(COMPILE) --python-platform linux --constraint requirements.lock --extra client --extra steps --extra mlflow --extra mnist --extra series --extra diffusers --extra ocr --extra fid $(addprefix --torch-backend ,$(TORCH_BACKEND)) -o images/cpu/requirements.lock
	@$(COMPILE) --python-platform linux --constraint requirements.lock --extra client --extra train --extra mlflow --extra mnist --extra series --extra diffusers --extra ocr --extra fid -o images/train/requirements.lock

.PHONY: clean
clean:  ## Remove local state (.flowmap) and caches, not the environment
	@rm -rf .flowmap .flowmap-seeds .mypy_cache .ruff_cache .pytest_cache site .coverage
