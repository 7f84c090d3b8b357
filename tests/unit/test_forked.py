"""The process that the tests run Snakemake from is itself looked at."""

from __future__ import annotations

import gc
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import forked
from tests.project import BIN

_VERSION = [str(BIN / "snakemake"), "--version"]


def _run(cwd: Path, argv: list[str], timeout: float = 60) -> tuple[int, str]:
    with forked.server() as server:
        return server.run(argv, cwd, dict(os.environ), timeout)


def test_threads_that_end_leave_nothing_open(tmp_path: Path) -> None:
    # What they left open would be a warning in whatever test Python tidies up in, so an error.
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(lambda _: _run(tmp_path, _VERSION), range(4)))
    gc.collect()
    version = subprocess.run(_VERSION, capture_output=True, text=True, check=True).stdout
    assert runs == [(0, version)] * 4


def test_run_that_takes_too_long_is_ended_and_the_next_is_not(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("import time\n\ntime.sleep(60)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        _run(tmp_path, [_VERSION[0], "-c1"], timeout=3)
    assert _run(tmp_path, _VERSION)[0] == 0


def _shell(directory: Path, line: str, **variables: str) -> tuple[int, str]:
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=directory,
        env={**os.environ, **variables, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_shell_runs_it_as_the_program(tmp_path: Path) -> None:
    """Its input, output, exit code and variables are the shell's; two may run at once."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/mine.py").write_text("NAME = 'of PYTHONPATH'\n")
    text = "import os, sys, mine\nprint(mine.NAME, os.environ['MINE'], sys.stdin.read())\n"
    (tmp_path / "Snakefile").write_text(f"{text}sys.exit(7)\n")
    with forked.program(tmp_path, Path(_VERSION[0])) as directory:
        version = subprocess.run(_VERSION, capture_output=True, text=True, check=True).stdout
        both = "snakemake --version & snakemake --version & wait"
        assert _shell(directory, both) == (0, version * 2)
        variables = {"PYTHONPATH": str(tmp_path / "modules"), "MINE": "yes"}
        run = _shell(directory, "echo words | snakemake -c1 2>&1 | tail -2", **variables)
        assert run == (0, "of PYTHONPATH yes words\n\n")
        code, _ = _shell(directory, "snakemake -c1 2>/dev/null </dev/null", **variables)
        assert code == 7
