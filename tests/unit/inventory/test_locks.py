"""Turns of control planes, with real processes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from talosmake.base.errors import ConfigError
from talosmake.inventory import environments, locks
from talosmake.inventory.model import Cluster
from tests.project import REPOSITORY, Project

PROD = Cluster("talos-prod", "https://10.1.1.10:6443", "v1.13.0", "v1.13", "1.36.0")

# Takes its turn, says so, and keeps it until its input ends.
_TURN = """
import sys
from talosmake.base import wait
from talosmake.inventory import environments, locks
from talosmake.base.errors import TalosmakeError
wait.stop_waiting_on_interrupt()
wait._SAY_AFTER = 0.1
wait.say = lambda text: print(text, flush=True)
node, shared = sys.argv[1], sys.argv[2] == "shared"
try:
    with locks.roll_out_lock(environments.load("dev"), node, shared=shared):
        print("in", flush=True)
        sys.stdin.read()
        print("out", flush=True)
except TalosmakeError as error:
    print("error:", error, flush=True)
"""


class Process:
    """A process of its own that takes a turn.

    :ivar said: its first line: that it has its turn, or what it waits for.
    """

    said = ""

    def __init__(self, project: Project, node: str, how: str = "alone") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TURN, node, how],
            cwd=project.root,
            env={**project.variables, "PYTHONPATH": str(REPOSITORY / "scripts")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ends(self) -> str:
        """End its turn; returns what it says after that."""
        return self.process.communicate(timeout=20)[0]


@contextlib.contextmanager
def turn(project: Project, node: str, how: str = "alone") -> Iterator[Process]:
    process = Process(project, node, how)
    try:
        process.said = process.line()
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


@pytest.fixture
def two(small: Project, tmp_path: Path) -> tuple[Project, Project]:
    """Two checkouts of the same project."""
    shutil.copytree(small.root, tmp_path / "other")
    return small, Project(tmp_path / "other", small.env)


def test_path_is_the_cluster_and_not_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"talos-prod\0https://10.1.1.10:6443").hexdigest()[:12]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "other"))
    assert locks.roll_out_path(PROD) == tmp_path / f"talosmake/locks/talos-prod-{digest}.lock"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = locks.roll_out_path(PROD)
    assert path == tmp_path / f".cache/talosmake/locks/talos-prod-{digest}.lock"


def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match="neither HOME nor XDG_CACHE_HOME") as failed:
        locks.roll_out_path(PROD)
    assert "Set XDG_CACHE_HOME" in failed.value.hint


def test_two_checkouts_take_turns_and_death_ends_one(two: tuple[Project, Project]) -> None:
    one, other = two
    with turn(one, "cp_1") as first, turn(other, "cp_2") as second:
        assert first.said == "in"
        waiting = second.said
        assert waiting.startswith(
            "dev/cp_2: waiting for its turn to change control planes of talos-test (0 s): "
        )
        assert f"is held by process {first.process.pid} on " in waiting
        assert waiting.endswith(f"for dev/cp_1, in {one.root}")
        assert second.process.poll() is None
        first.process.send_signal(signal.SIGKILL)
        assert second.line() == "in"
        assert second.ends() == "out\n"


def test_directory_that_two_machines_share_is_enough(two: tuple[Project, Project]) -> None:
    """Jobs elsewhere have another cache directory."""
    here, _ = two
    elsewhere = Project(here.root, {**here.env, "XDG_CACHE_HOME": str(here.root / "elsewhere")})
    with turn(here, "cp_1") as first, turn(elsewhere, "cp_2") as second:
        assert first.said == "in"
        assert "rendered_configs/dev/state/roll-out.lock is held by process" in second.said
        assert first.ends() == "out\n"
        assert second.line() == "in"


def test_flock_of_apply_sh_excludes_and_is_excluded(two: tuple[Project, Project]) -> None:
    one, _ = two
    path = locks.roll_out_path(environments.load("dev").cluster)
    path.parent.mkdir(parents=True, exist_ok=True)
    shell = f'exec 9>>"{path}"; flock -n 9 || exit 7; echo $$ >"{path}"; echo in; cat'
    script = subprocess.Popen(
        ["bash", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "in\n"
    with turn(one, "cp_1") as waiting:
        assert f"is held by process {script.pid}" in waiting.said
        script.communicate()
        assert waiting.line() == "in"
        assert subprocess.run(["bash", "-c", shell], check=False).returncode == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_wait(two: tuple[Project, Project], number: signal.Signals) -> None:
    one, other = two
    with turn(one, "cp_1") as first, turn(other, "cp_2") as second:
        assert first.said == "in"
        assert "waiting for its turn" in second.said
        second.process.send_signal(number)
        second.process.wait(60)  # it would wait for its turn for ever
        assert first.process.poll() is None


def test_before_the_bootstrap_they_share_it_and_nobody_bootstraps(
    two: tuple[Project, Project],
) -> None:
    one, other = two
    with (
        turn(one, "cp_1", "shared") as first,
        turn(other, "cp_2", "shared") as second,
        turn(one, "cp_3") as bootstrap,
    ):
        assert first.said == second.said == "in"
        assert "waiting for its turn" in bootstrap.said
        assert first.ends() == "out\n"
        assert bootstrap.process.poll() is None
        assert second.ends() == "out\n"
        assert bootstrap.line() == "in"


def test_a_turn_may_be_taken_again_and_for_itself_alone(two: tuple[Project, Project]) -> None:
    """As a reboot is within an apply; two that share do not wait for each other for ever."""
    one, other = two
    dev = environments.load("dev")
    with locks.roll_out_lock(dev, "cp_1", shared=True):
        with turn(other, "cp_2", "shared") as second:
            assert second.said == "in"
            assert second.ends() == "out\n"
        with locks.roll_out_lock(dev, "cp_1"), turn(other, "cp_3", "shared") as third:
            assert "waiting for its turn" in third.said
        with turn(other, "cp_3") as third:
            assert f"is held by process {os.getpid()} " in third.said
    with turn(one, "cp_3") as third:
        assert third.said == "in"


def test_where_there_can_be_no_lock_nothing_is_changed(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.write("cache", "a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(small.root / "cache"))
    refused = pytest.raises(ConfigError, match="cache/talosmake/locks")
    with refused, locks.roll_out_lock(environments.load("dev"), "cp_1"):
        raise AssertionError("it has no turn")

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setenv("XDG_CACHE_HOME", str(small.root / "other"))
    monkeypatch.setattr(fcntl, "flock", unsupported)
    refused = pytest.raises(ConfigError, match="cannot be locked: Operation not supported")
    with refused, locks.roll_out_lock(environments.load("dev"), "cp_1"):
        raise AssertionError("it has no turn")
