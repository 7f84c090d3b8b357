"""Fixtures for tests that call our modules directly, in a project's directory."""

from __future__ import annotations

import pytest

from tests.project import Project


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that this process works in, as Snakemake would, and with its key only."""
    monkeypatch.chdir(project.root)
    for name in ("SOPS_AGE_KEY", "SOPS_AGE_KEY_CMD", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in project.env.items():
        monkeypatch.setenv(name, value)
    return project


@pytest.fixture
def small(here: Project) -> Project:
    """One environment, dev: a control plane, cp_1, and a worker, worker_1."""
    here.environment("dev")
    here.node("dev", "control_planes", "cp_1", "10.9.0.11")
    here.node("dev", "workers", "worker_1", "10.9.0.21")
    return here
