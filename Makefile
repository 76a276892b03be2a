PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: help install train test test-slow clean

help: ## Print this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' \
	  | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done
	@printf '\nExamples:\n  make train PYTHON=python3.12\n  $(BIN)/python train.py --help\n'

install: $(INSTALLED) ## Create .venv and install requirements.txt into it; nothing where that is done.

$(INSTALLED): requirements.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	  ok or sys.exit("Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is %d.%d: try make PYTHON=python3.12" \
	  % sys.version_info[:2])'
	@test -x $(BIN)/python || { echo 'creating $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'installing requirements.txt, about a minute'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

train: install ## Train configs/digits.py in about 2 minutes; needs no data download.
	@$(BIN)/python train.py --config configs/digits.py

test: install ## Run the tests, all but the longest.
	@$(BIN)/python -m pytest

test-slow: install ## Run the tests that take long, `make train` among them.
	@$(BIN)/python -m pytest -m slow

clean: ## Remove caches; runs and .venv stay.
	@rm -rf .cache .pytest_cache .ruff_cache *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
