"""A cluster of simulated nodes that runs already: brought up once, then copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project


@pytest.fixture(scope="session")
def running_network(worker_id: str) -> str:
    """The network of all clusters that run already, of which there is one at a time."""
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 99
    return f"127.{100 + worker}.253"


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory, _home: Path, running_network: str) -> Path:
    """What lab is once it was brought up, with its nodes powered off."""
    root = tmp_path_factory.mktemp("running")
    made = Project(root, {"HOME": str(_home), "XDG_CACHE_HOME": str(_home / ".cache")})
    made.lab(running_network)
    made.ok("-j4", "--config", "env=lab")
    made.stop_simulators()
    return root


@pytest.fixture
def running(project: Project, _running: Path) -> Iterator[Project]:
    """A project whose lab was brought up."""
    shutil.copytree(_running, project.root, symlinks=True, dirs_exist_ok=True)
    with project.powered_on():
        yield project
