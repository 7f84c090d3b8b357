"""What a run takes for itself before its first job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from talosmake.base import files, marker, this_run
from talosmake.inventory import environments, locks
from talosmake.inventory.model import Environment
from talosmake.report import journal
from talosmake.workflow import lifecycle
from tests.project import Project


@pytest.fixture
def dev(small: Project) -> Iterator[Environment]:
    """An environment in which a run was killed, after its roll-out had stopped."""
    environment = environments.load("dev")
    marker.write(environment.paths.bootstrapped, step="bootstrapped")
    files.temporary_path(environment.paths.linted).touch()
    locks.stop_roll_out(environment, "cp_1")
    yield environment
    this_run.begin()  # lets go of the lock


def _left(environment: Environment) -> list[Path]:
    return [*environment.paths.state.glob(".*.tmp")]


def test_a_run_that_works_has_the_environment_for_itself(dev: Environment) -> None:
    due = ["apply_worker", "nodes"]
    assert lifecycle.begin({"dev": dev}, due) == {"apply_worker"}
    assert _left(dev) == []
    assert locks.stopped_at(dev) == ""
    assert len(this_run.current().held) == 1
    assert journal.path_of("dev").read_text() == ""


def test_a_run_that_looks_takes_nothing(dev: Environment) -> None:
    assert lifecycle.begin({"dev": dev}, ["nodes", "diff"]) == frozenset()
    assert len(_left(dev)) == 1
    assert locks.stopped_at(dev) == "cp_1"
    assert this_run.current().held == []
    assert not journal.path_of("dev").exists()


def test_a_report_keeps_the_journal_of_the_run_that_it_tells_of(dev: Environment) -> None:
    journal.path_of("dev").parent.mkdir(parents=True)
    journal.path_of("dev").write_text("{}\n")
    lifecycle.begin({"dev": dev}, ["report", "render_config"])
    assert journal.path_of("dev").read_text() == "{}\n"
    lifecycle.begin({"dev": dev}, ["explain"])
    assert journal.path_of("dev").read_text() == "{}\n"
