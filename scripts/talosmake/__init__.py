"""Talosmake's own code: from layered patches and encrypted secrets to running Talos nodes.

The Snakemake rules in ``rules/`` say what depends on what; the packages here do the work. Each
answers one question and imports only from those below it (docs/architecture.md), as import-linter
checks.
"""
