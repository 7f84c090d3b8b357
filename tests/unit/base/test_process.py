from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from talosmake.base import process
from talosmake.base.errors import ToolError, ToolTimeoutError
from talosmake.base.process import piped, run

LARGE = bytes(range(256)) * 4096  # a MiB, sixteen times what a pipe holds


def test_answer_is_whole() -> None:
    code = "import sys; sys.stdout.write('out'); sys.stderr.write('err'); sys.exit(3)"
    result = run(["python", "-c", code])
    assert (result.code, result.stdout, result.stderr, result.ok) == (3, b"out", "err", False)


def test_standard_input_and_variables() -> None:
    code = "import os, sys; print(os.environ['A'] + sys.stdin.read() + str('PATH' in os.environ))"
    assert run(["python", "-c", code], stdin=b"in", env={"A": "a"}).stdout == b"ainTrue\n"


def test_standard_input_larger_than_a_pipe_for_a_program_that_does_not_read() -> None:
    assert run(["python", "-c", "pass"], stdin=LARGE, timeout=30).ok


def test_time_out_names_the_program_and_ends_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ToolTimeoutError, match=r"^python did not answer within 0\.5 s$"):
        run(["python", "-c", code], timeout=0.5)
    assert not pid.exists() or not Path(f"/proc/{pid.read_text()}").exists()


def test_missing_program_says_how_to_get_it() -> None:
    with pytest.raises(ToolError, match="no-such-program is not installed") as error:
        run(["no-such-program"])
    assert "make setup" in error.value.hint


def test_program_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-program"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="broken-program cannot be started: "):
        run(["broken-program"])


def test_pinned_programs_come_before_those_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one-tool").write_text("#!/bin/sh\n")
        (tmp_path / name / "one-tool").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "ours/python"))
    monkeypatch.setenv("PATH", f"{tmp_path}/theirs:{os.environ['PATH']}")
    process.find.cache_clear()
    assert process.find("one-tool") == str(tmp_path / "ours/one-tool")
    (tmp_path / "ours/one-tool").unlink()
    process.find.cache_clear()
    assert process.find("one-tool") == str(tmp_path / "theirs/one-tool")
    process.find.cache_clear()
    assert process.find("cat") == shutil.which("cat")
    process.find.cache_clear()


def test_piped_contents_arrive_whole_each_under_its_name() -> None:
    contents = [LARGE, b"", b"small", LARGE[:70_000]]
    with piped(*contents) as (names, descriptors):
        results = [run(["cat", name], pass_fds=descriptors, timeout=30).stdout for name in names]
    assert results == contents


def test_piped_content_is_in_no_file() -> None:
    with piped(b"secret") as ([name], [descriptor]):
        assert str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("pipe:")
        assert name == f"/dev/fd/{descriptor}"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("code", ["pass", "import sys; open(sys.argv[1], 'rb').read(10)"])
def test_program_that_does_not_read_to_the_end_leaves_nothing_behind(code: str) -> None:
    threads, descriptors_before = threading.active_count(), _descriptors()
    start = time.monotonic()
    with piped(LARGE, LARGE) as (names, descriptors):
        assert run(["python", "-c", code, names[0]], pass_fds=descriptors, timeout=30).ok
    assert time.monotonic() - start < 20
    assert threading.active_count() == threads
    assert _descriptors() == descriptors_before


def test_error_while_piping_leaves_nothing_behind() -> None:
    threads = threading.active_count()
    with pytest.raises(ToolError, match="not installed"), piped(LARGE) as (_, descriptors):
        run(["no-such-program"], pass_fds=descriptors)
    assert threading.active_count() == threads
