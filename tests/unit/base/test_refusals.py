"""Whatever the system refuses a job is one clear error: what, why, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from talosmake.base import files, process, progress, refusals
from talosmake.base.errors import ConfigError, ToolError
from talosmake.machines import lab
from talosmake.workflow import jobs


def refused(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.fixture
def log(tmp_path: Path) -> list[str]:
    return [str(tmp_path / "logs/dev/x.log")]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def _on_standard_error(log: list[str]) -> None:
    progress.silence()
    Path(log[0]).parent.mkdir(parents=True)


@pytest.mark.parametrize(
    ("number", "why", "do"),
    [
        (errno.ENOSPC, "No space left on device", "Make room there"),
        (errno.EDQUOT, "Disk quota exceeded", "Make room there"),
        (errno.EACCES, "Permission denied", "Make the directory writable"),
        (errno.EROFS, "Read-only file system", "mounted read-only"),
        (errno.EMFILE, "Too many open files", "ulimit -n"),
        (errno.EIO, "Input/output error", "the system's log"),
        (errno.ETIMEDOUT, "Connection timed out", "the same command goes on"),
    ],
)
def test_job_that_the_system_refuses(
    log: list[str], capsys: pytest.CaptureFixture[str], number: int, why: str, do: str
) -> None:
    def step() -> None:
        raise refused(number, "some/file")

    with pytest.raises(jobs.JobFailed):
        jobs.run(log, step)
    said = shown(capsys)
    assert said.startswith(f"Error: some/file: {why}\n  -> ")
    assert do in said
    assert f"Error: some/file: {why}" in progress.error_in(Path(log[0]))
    with pytest.raises(SystemExit) as ended:
        jobs.or_exit(step)
    assert ended.value.code == 1
    assert shown(capsys).startswith(f"Error: some/file: {why}\n  -> ")


def test_names_of_a_refused_move_and_of_nothing() -> None:
    error = OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")
    assert refusals.as_error(error).message == "a and b: Invalid cross-device link"
    assert refusals.as_error(OSError("odd")).message == "the system refuses: odd"


def test_log_that_cannot_be_written(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(log[0]).mkdir()
    with pytest.raises(jobs.JobFailed):
        jobs.run(log, lambda: None)
    said = shown(capsys)
    assert said.startswith(f"Error: {log[0]}: Is a directory\n")
    assert "A directory stands where a file has to be" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_below_the_log_hides_no_error(
    log: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(log[0]).symlink_to("/dev/full")

    def step() -> None:
        progress.say("begun")
        raise ToolError("what went wrong")

    with pytest.raises(jobs.JobFailed):
        jobs.run(log, step)
    assert shown(capsys) == "Error: what went wrong\n"


def test_file_of_the_workflow_on_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise refused(errno.ENOSPC)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError) as error:
        files.write_atomically(tmp_path / "config", "x")
    assert error.value.message == (f"{tmp_path}/config: cannot be written: No space left on device")
    assert "Make room there" in error.value.hint


def test_lab_disk_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mkfs.ext4"
    program.write_text("#!/bin/sh\necho 'mkfs.ext4: No space left on device' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(lab, "run", lambda argv: process.run([str(program), *argv[1:]]))
    with pytest.raises(ToolError) as error:
        lab._ensure_disk(tmp_path / "disk.raw")
    assert error.value.message.endswith(
        "disk.raw: mkfs.ext4 makes no file system there: mkfs.ext4: No space left on device"
    )
    assert not (tmp_path / "disk.raw").exists()
