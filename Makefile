PYTHON ?= python3
CONFIG ?= configs/digits.py
WORKDIR ?=
FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
IMAGES := --indices 0,1,2,3,4,5,6,7
CLASSES := --label 0,1
PAIR := $(or $(WORKDIR),runs/$(basename $(notdir $(CONFIG))))
DAE := --config.objective=dae --config.prior=standard --config.free_bits=0 \
  --config.num_importance_samples=1
SWEEPS := $(sort $(wildcard configs/sweeps/*.py))
IN_WORKDIR := $(if $(WORKDIR),--workdir '$(WORKDIR)')

.PHONY: help install install-dev train train-mnist train-fashion train-cifar10 evaluate sample \
  reconstruct traverse interpolate scatter compare-dae ablations notebook benchmark test test-slow test-faults lint format clean \
  clean-all

help: ## Print this list.
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nWith CONFIG=configs/mnist.py, WORKDIR=runs/mine and FLAGS="--config.beta=4", e.g.\n'
	@printf '  make train CONFIG=configs/mnist.py FLAGS=--config.data.dir=data\n'
	@printf '  make sample WORKDIR=mnist_large FLAGS="--digit 3"\n  make install PYTHON=python3.12\n'

##@ Install
install: $(INSTALLED) ## Create .venv and install requirements.txt into it; nothing where that is done.

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	  ok or sys.exit("Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is %d.%d: try make install PYTHON=python3.12" \
	  % sys.version_info[:2])'
	@test -x $(BIN)/python || { echo 'creating $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'installing requirements.txt, about a minute'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

install-dev: install ## The same, with ruff, wandb and PyTorch, for tests and benchmarks.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'ruff>=0.17,<0.18' torch wandb

##@ Train
train: install ## Train CONFIG, or go on with it; configs/digits.py takes 2 minutes and no download.
	@$(BIN)/python train.py --config $(CONFIG) $(IN_WORKDIR) $(FLAGS)

train-mnist: CONFIG = configs/mnist.py
train-mnist: train ## Train configs/mnist.py.

train-fashion: CONFIG = configs/fashion_mnist.py
train-fashion: train ## Train configs/fashion_mnist.py.

train-cifar10: CONFIG = configs/cifar10.py
train-cifar10: train ## Train configs/cifar10.py.

##@ Judge and draw: the run in WORKDIR, else the newest, else the shipped mnist
evaluate: install ## Measure it: likelihoods, samples, reconstructions, latents.
	@$(BIN)/python evaluate.py $(IN_WORKDIR) $(FLAGS)

sample: install ## Draw all classes, a row each; FLAGS="--digit 3" one.
	@$(BIN)/python sample.py $(IN_WORKDIR) $(FLAGS)

reconstruct: install ## Images of its test set above what it makes of them; FLAGS="--indices 8,9".
	@$(BIN)/python sample.py --mode reconstruct $(IN_WORKDIR) $(or $(FLAGS),$(IMAGES))

traverse: install ## Each latent dimension in turn; FLAGS="--digit 3".
	@$(BIN)/python sample.py --mode traverse $(IN_WORKDIR) $(FLAGS)

interpolate: install ## The way between two classes; FLAGS="--label 3,8" others than 0,1.
	@$(BIN)/python sample.py --mode interpolate $(IN_WORKDIR) $(or $(FLAGS),$(CLASSES))

scatter: install ## Its latents in two dimensions, by class; FLAGS="--projection tsne".
	@$(BIN)/python evaluate.py --scatter $(IN_WORKDIR) $(FLAGS)

##@ Compare
compare-dae: install ## Train CONFIG, without classes, as WORKDIR-vae and as WORKDIR-dae; compare them.
	@$(BIN)/python train.py --config $(CONFIG) --config.conditional=False --workdir '$(PAIR)-vae' \
	  $(FLAGS)
	@$(BIN)/python train.py --config $(CONFIG) --config.conditional=False --workdir '$(PAIR)-dae' \
	  $(FLAGS) $(DAE)
	@$(BIN)/python evaluate.py --compare '$(PAIR)-vae' '$(PAIR)-dae'

ablations: install ## Each of configs/sweeps/, with its report; hours without an accelerator.
	@failed=0; for config in $(SWEEPS); do \
	  $(BIN)/python train.py --config $$config $(FLAGS) || failed=$$?; \
	  [ $$failed -le 1 ] || exit $$failed; done; exit $$failed

##@ Learn and measure
notebook: install ## Run the notebook from its first cell to its last.
	@$(BIN)/python -m pytest tests/test_notebook.py -m "slow or not slow" -n0

benchmark: install-dev ## Measure the speed here, beside PyTorch's.
	@$(BIN)/python -m benchmarks

##@ Develop
test: install ## Run the tests, all but the longest.
	@$(BIN)/python -m pytest

test-slow: install ## Run the tests that take long, `make train` among them.
	@$(BIN)/python -m pytest -m slow

test-faults: install ## Run the tests of what can happen to a run, in full.
	@$(BIN)/python -m pytest -m "faults or not faults" tests/faults

lint: install-dev ## Check the code with ruff.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install-dev ## Format the code with ruff.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean: ## Remove caches; runs and .venv stay.
	@rm -rf .cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-all: clean ## Remove .venv and all that was trained or downloaded here: runs/, shipped/, data/.
	@rm -rf runs shipped data $(VENV)
