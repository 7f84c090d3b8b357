"""An address that another checkout's nodes hold: which one, and the command that stops them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from talosmake.base.errors import NodeError
from talosmake.machines import occupied
from tests.project import Project

UP = ("-j4", "--config", "env=lab")


@pytest.fixture
def elsewhere(lab: Project, tmp_path: Path) -> Iterator[Project]:
    """The same project in another directory, where its nodes run."""
    other = Project(tmp_path / "else where", lab.env)
    shutil.copytree(lab.root, other.root)
    other.ok("apply", *UP)
    yield other
    other.stop_simulators()


def test_nodes_of_another_checkout_are_named_with_what_stops_them(
    lab: Project, elsewhere: Project, network: str
) -> None:
    error = lab.fails("apply", *UP)
    held = ", ".join(f"{network}.{last}" for last in (11, 12, 13, 21, 22))
    assert f"lab: port 50000 of {held} is held by talos-simulator (process " in error
    assert f"started in {elsewhere.root})" in error
    command = re.search(r"Stop it:  (.*)", error)
    assert command
    stop = command[1].replace("snakemake ", " ".join(elsewhere.command()) + " ")
    done = subprocess.run(
        ["bash", "-c", stop], env=lab.variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lab.ok("apply", *UP)


def test_nodes_of_a_checkout_that_is_gone_are_ended_by_their_number(
    lab: Project, elsewhere: Project
) -> None:
    shutil.rmtree(elsewhere.root)
    error = lab.fails("apply", *UP)
    command = re.search(r"Stop it:  (kill \d+)", error)
    assert command
    subprocess.run(command[1].split(), check=True)
    lab.ok("apply", *UP)


def test_any_other_process_is_named(network: str) -> None:
    with socket.create_server((f"{network}.9", 50000)):
        with pytest.raises(NodeError, match=rf"dev: port 50000 of {network}\.9 is held by py"):
            occupied.check("dev", [f"{network}.8", f"{network}.9"])
        occupied.check("dev", [f"{network}.8"])
    occupied.check("dev", [f"{network}.9"])
    with (
        socket.create_server(("::1", 50000), family=socket.AF_INET6),
        pytest.raises(NodeError, match="dev: port 50000 of ::1 is held by py"),
    ):
        occupied.check("dev", ["::1"])
