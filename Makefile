PYTHON ?= python3
CONFIG ?= configs/digits.py
WORKDIR ?=
FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
MANUAL := $(VENV)/installed-docs
IMAGES := --indices 0,1,2,3,4,5,6,7
CLASSES := --label 0,1
PAIR := $(or $(WORKDIR),runs/$(basename $(notdir $(CONFIG))))
DAE := --config.objective=dae --config.prior=standard --config.free_bits=0 \
  --config.num_importance_samples=1
KERNELS_SOURCE := cvae_jax/exporting/page/assets/kernels.c
KERNELS ?= $(KERNELS_SOURCE:.c=.wasm)
SWEEPS := $(sort $(wildcard configs/sweeps/*.py))
IN_WORKDIR := $(if $(WORKDIR),--workdir '$(WORKDIR)')

.PHONY: help install install-dev export-tools train train-mnist train-fashion train-cifar10 evaluate sample \
  reconstruct traverse interpolate scatter compare-dae ablations notebook benchmark test test-slow \
  test-faults page-kernels lint format docs docs-serve package clean clean-all

help: ## Print this list.
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: CONFIG, WORKDIR and FLAGS, e.g.\n'
	@printf '  make train CONFIG=configs/mnist.py FLAGS=--config.data.dir=data\n'
	@printf '  make sample WORKDIR=mnist_large FLAGS="--digit 3"\n  make install PYTHON=python3.12\n'

##@ Install
install: $(INSTALLED) ## Create .venv with requirements.txt, if it is not there yet.

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	  ok or sys.exit("Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is %d.%d: try make install PYTHON=python3.12" \
	  % sys.version_info[:2])'
	@test -x $(BIN)/python || { echo 'creating $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'installing requirements.txt, about a minute'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(BIN)/ruff: | $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'ruff>=0.17,<0.18'

$(MANUAL): requirements-docs.txt $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

install-dev: install $(BIN)/ruff ## Add ruff, wandb and PyTorch, for tests and benchmarks.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch wandb

export-tools: install ## Add what export.py and its tests need: ONNX, hubs, a browser's driver.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'onnx==1.23.*' \
	  'onnx-ir==1.1.*' 'onnxruntime==1.32.*' 'huggingface_hub==2.4.*' 'playwright==1.65.*' 'wasmtime==50.*'
	@# Its metadata wants an older orbax-checkpoint, which it never imports: hence --no-deps.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps jax2onnx==0.17.1

##@ Train
train: install ## Train CONFIG or resume it; configs/digits.py takes 2 minutes, without download.
	@$(BIN)/python train.py --config $(CONFIG) $(IN_WORKDIR) $(FLAGS)

train-mnist: CONFIG = configs/mnist.py
train-mnist: train ## Train configs/mnist.py.

train-fashion: CONFIG = configs/fashion_mnist.py
train-fashion: train ## Train configs/fashion_mnist.py.

train-cifar10: CONFIG = configs/cifar10.py
train-cifar10: train ## Train configs/cifar10.py.

##@ Evaluate and sample the run in WORKDIR, or the newest, or the shipped mnist
evaluate: install ## Measure likelihoods, samples, reconstructions and latents.
	@$(BIN)/python evaluate.py $(IN_WORKDIR) $(FLAGS)

sample: install ## Draw all classes, one row each; FLAGS="--digit 3": only one.
	@$(BIN)/python sample.py $(IN_WORKDIR) $(FLAGS)

reconstruct: install ## Show test images above their reconstructions; FLAGS="--indices 8,9".
	@$(BIN)/python sample.py --mode reconstruct $(IN_WORKDIR) $(or $(FLAGS),$(IMAGES))

traverse: install ## Vary one latent dimension per row; FLAGS="--digit 3".
	@$(BIN)/python sample.py --mode traverse $(IN_WORKDIR) $(FLAGS)

interpolate: install ## Interpolate between classes 0 and 1; FLAGS="--label 3,8": others.
	@$(BIN)/python sample.py --mode interpolate $(IN_WORKDIR) $(or $(FLAGS),$(CLASSES))

scatter: install ## Plot the latents in two dimensions; FLAGS="--projection tsne".
	@$(BIN)/python evaluate.py --scatter $(IN_WORKDIR) $(FLAGS)

##@ Compare
compare-dae: install ## Train CONFIG without classes, as WORKDIR-vae and WORKDIR-dae (a DAE); compare them.
	@$(BIN)/python train.py --config $(CONFIG) --config.conditional=False --workdir '$(PAIR)-vae' \
	  $(FLAGS)
	@$(BIN)/python train.py --config $(CONFIG) --config.conditional=False --workdir '$(PAIR)-dae' \
	  $(FLAGS) $(DAE)
	@$(BIN)/python evaluate.py --compare '$(PAIR)-vae' '$(PAIR)-dae'

ablations: install ## Run each sweep of configs/sweeps/; hours without an accelerator.
	@failed=0; for config in $(SWEEPS); do \
	  $(BIN)/python train.py --config $$config $(FLAGS) || failed=$$?; \
	  [ $$failed -le 1 ] || exit $$failed; done; exit $$failed

##@ Notebook and benchmarks
notebook: install ## Run all cells of the notebook.
	@$(BIN)/python -m pytest tests/test_notebook.py -m "slow or not slow" -n0

benchmark: install-dev ## Measure the speed, and that of PyTorch.
	@$(BIN)/python -m benchmarks

##@ Develop
test: install ## Run the tests, except for the slow ones.
	@$(BIN)/python -m pytest

test-slow: install ## Run the slow tests; `make train` is one of them.
	@$(BIN)/python -m pytest -m slow

test-faults: install ## Run all tests of crashes, full disks and damaged files.
	@$(BIN)/python -m pytest -m "faults or not faults" tests/faults

# Debian's packages clang-14 and lld-14. Another version may give other bytes.
page-kernels: ## Compile the arithmetic of exported pages; needs clang-14 and wasm-ld-14.
	@clang-14 --target=wasm32 -O3 -msimd128 -mbulk-memory -ffreestanding -nostdlib -Wall -Wextra \
	  -fuse-ld=/usr/bin/wasm-ld-14 -Wl,--no-entry,--strip-all,--export=__heap_base,-z,stack-size=65536 \
	  -o $(KERNELS) $(KERNELS_SOURCE)

lint: install $(BIN)/ruff ## Check the code with ruff, and the order of imports.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import_linter

format: install $(BIN)/ruff ## Format the code with ruff.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(MANUAL) ## Build the manual, build/site/index.html; a dead link fails.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'the manual: build/site/index.html'

docs-serve: $(MANUAL) ## Show the manual at http://127.0.0.1:8000, anew after each change.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --watch cvae_jax $(FLAGS)

package: install ## Build the wheel and the source archive into dist/, and check them.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2,<2' 'twine>=6,<8'
	@rm -rf dist && $(BIN)/python -m build && $(BIN)/python -m twine check --strict dist/*

clean: ## Remove caches and build/; keep runs and .venv.
	@rm -rf .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-all: clean ## Remove .venv, runs/, shipped/ and data/ too.
	@rm -rf runs shipped data $(VENV)
