from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.project import REPOSITORY

# Twice, as by the logger plugin and the workflow.
PRINTING = """\
import sys
from talosmake.base import streams
print("début")
streams.outlive_readers()
streams.outlive_readers()
print("œuvre")
print("read on", file=sys.stderr)
sys.stdin.readline()
print("fin", flush=True)
print("fin", file=sys.stderr)
sys.exit(7)
"""


def _started(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *options, "-c", PRINTING],
        cwd=REPOSITORY / "scripts",
        env={**os.environ, "PYTHONIOENCODING": "latin-1:replace"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="latin-1",
    )


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_what_is_read_is_all_that_was_written(options: list[str]) -> None:
    process = _started(*options)
    assert process.communicate("\n") == ("début\n?uvre\nfin\n", "read on\nfin\n")
    assert process.returncode == 7


@pytest.mark.parametrize("options", [[], ["-u"]])
@pytest.mark.parametrize("left", ["stdout", "stderr", "both"])
def test_reader_that_left_changes_nothing(options: list[str], left: str) -> None:
    with _started(*options) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert process.stderr.readline() == "read on\n"
        if left != "stderr":
            process.stdout.close()
        if left != "stdout":
            process.stderr.close()
        process.stdin.close()
        if left == "stdout":
            assert process.stderr.read() == "fin\n"
        if left == "stderr":
            assert process.stdout.read() == "début\n?uvre\nfin\n"
    assert process.returncode == 7


@pytest.mark.parametrize("missing", ["stdout", "stderr"])
def test_stream_that_was_never_there(missing: str) -> None:
    code = f"import sys; sys.{missing} = None\n{PRINTING}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "scripts",
        input=b"\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 7
