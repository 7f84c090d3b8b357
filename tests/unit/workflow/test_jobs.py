from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from talosmake.base import progress
from talosmake.base.errors import BusyError, ConfigError, NodeError, TalosmakeError
from talosmake.workflow import jobs
from tests.project import REPOSITORY

HOLDER = (
    "import pathlib, sys\n"
    "from talosmake.workflow import jobs\n"
    "jobs.lock_environment('dev', pathlib.Path(sys.argv[1]))\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the environment in tmp_path/dev/state."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "dev/state")],
        cwd=REPOSITORY / "scripts",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_run_is_refused_and_told_who_holds(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(BusyError) as error:
        jobs.lock_environment("dev", tmp_path / "dev/state")
    assert error.value.message == (
        f"dev: another run is at work on this environment (process {holder.pid})"
    )
    assert "Wait until it ends" in error.value.hint


def test_other_environments_are_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    jobs.lock_environment("prod", tmp_path / "prod/state")
    assert (tmp_path / "prod/state/lock").read_text() == str(os.getpid())
    assert holder.poll() is None


def test_killed_run_leaves_the_environment_free(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait(10)
    assert (tmp_path / "dev/state/lock").read_text() == str(holder.pid)
    jobs.lock_environment("dev", tmp_path / "dev/state")
    assert (tmp_path / "dev/state/lock").read_text() == str(os.getpid())


def test_held_directories_are_private(tmp_path: Path) -> None:
    jobs.lock_environment("dev", tmp_path / "dev/state")
    for directory in (tmp_path / "dev", tmp_path / "dev/state"):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_place_for_the_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("")
    with pytest.raises(ConfigError, match="dev: cannot be made a directory"):
        jobs.lock_environment("dev", tmp_path / "dev/state")


def test_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "dev/state/lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match="lock: cannot be written"):
        jobs.lock_environment("dev", tmp_path / "dev/state")


def test_mistake_in_a_job_is_its_message_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(progress, "fail", shown.append)

    def step(name: str) -> None:
        raise NodeError(f"{name}: away", hint="Look.\nAgain.")

    with pytest.raises(jobs.JobFailed) as error:
        jobs.run([str(tmp_path / "log")], step, "cp_1")
    assert shown == ["Error: cp_1: away\n  -> Look.\n  -> Again."]
    assert error.value.__traceback__ is None


def test_mistake_of_ours_is_not_hidden(tmp_path: Path) -> None:
    def step() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        jobs.run([str(tmp_path / "log")], step)


def test_what_a_job_says_and_its_error_are_in_its_log(tmp_path: Path) -> None:
    def step() -> None:
        progress.say("begun")
        raise NodeError("away")

    with pytest.raises(jobs.JobFailed):
        jobs.run([str(tmp_path / "log")], step)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["begun", "Error: away"]


def test_mistake_while_parsing_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    def read() -> str:
        raise TalosmakeError("wrong", hint="fix it")

    with pytest.raises(SystemExit) as ended:
        jobs.or_exit(read)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Error: wrong\n  -> fix it\n"
    assert jobs.or_exit(len, "abc") == 3
