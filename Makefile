# Set-up, and nothing else: the interface people use is Snakemake itself (see README.md).
.DEFAULT_GOAL := help
.PHONY: help setup demo quick test test-lab docs reference versions requirements

PYTHON ?= python3
SETUP := $(PYTHON) tools/setup
SNAKEMAKE := .venv/bin/snakemake

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

setup: ## the Python environment .venv and the pinned tools in it (WITH=lab: for real nodes, too; WITH=schematic)
	@$(SETUP) $(if $(WITH),--with $(WITH))

demo: ## set-up, then two real nodes (DEMO=simulated: five simulated ones), up to bootstrapped
	@$(SETUP) --with demo
	$(SNAKEMAKE) --config env=$$(cat .venv/share/demo) -j4
	$(SNAKEMAKE) nodes --config env=$$(cat .venv/share/demo) --quiet all

# Of what make test has set up: nothing is fetched, so it works without a network, too.
quick: ## format, lint, types, import order, unit and golden tests: below two minutes
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/snakefmt --check Snakefile rules
	PYTHONPATH=scripts .venv/bin/lint-imports --no-cache
	.venv/bin/mypy
	.venv/bin/pytest -q tests/unit tests/golden tests/docs/test_architecture.py tests/docs/test_sizes.py $(PYTEST_ARGS)

test: ## set-up, then all tests (PYTEST_ARGS are passed on)
	@$(SETUP) --with test
	.venv/bin/pytest $(PYTEST_ARGS)

test-lab: ## what takes longer, above all with real nodes: three control planes, faults (half an hour)
	@$(SETUP) --with test
	.venv/bin/pytest -n 0 -m long $(PYTEST_ARGS)

docs: ## the documentation as a site, below site/
	@$(SETUP) --with test
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

reference: ## tables in docs/, and words that shells complete, from the schemas and targets
	@PYTHONPATH=scripts .venv/bin/python -m talosmake.cli.reference

versions: ## ask Talos's Go modules what the pinned talosctl knows, after its pin was changed (needs Go)
	@$(PYTHON) tools/versions/refresh.py
	@cd tools/platforms && { go run . >platforms.json.new || { rm -f platforms.json.new; exit 1; }; }
	@mv tools/platforms/platforms.json.new config/schemas/platforms.json
	@echo "config/schemas/platforms.json: written"

requirements: ## pin the packages that pyproject.toml names (UPGRADE=1: the newest ones)
	@$(SETUP) --lock $(if $(UPGRADE),--upgrade)
