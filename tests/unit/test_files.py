from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts import files
from scripts.errors import ConfigError
from tests.project import REPOSITORY


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_content_and_mode_hold_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write_atomically(tmp_path / "config", "text")
        files.write_atomically(tmp_path / "apply.sh", b"bytes", files.EXECUTABLE_FILE)
    finally:
        os.umask(before)
    assert (tmp_path / "config").read_text() == "text"
    assert (tmp_path / "config").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "apply.sh").stat().st_mode & 0o777 == 0o700
    assert names(tmp_path) == ["apply.sh", "config"]


def test_mode_of_an_existing_file_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("old")
    path.chmod(0o666)
    files.write_atomically(path, "new")
    assert path.stat().st_mode & 0o777 == 0o600


@given(old=st.binary(), new=st.binary(), step=st.sampled_from(["open", "fchmod", "fsync", "link"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_failed_write_leaves_the_old_content(
    tmp_path: Path, old: bytes, new: bytes, step: str
) -> None:
    path = tmp_path / "config"
    files.write_atomically(path, old)
    with pytest.MonkeyPatch.context() as patch:
        target: tuple[Any, str] = (Path, "replace") if step == "link" else (os, step)
        patch.setattr(*target, _fails)
        with pytest.raises(ConfigError, match="config: cannot be written: No space left"):
            files.write_atomically(path, new)
    assert path.read_bytes() == old
    files.write_atomically(path, new)
    assert path.read_bytes() == new
    assert names(tmp_path) == ["config"]


def _fails(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_killed_write_leaves_the_old_content_and_is_made_good(tmp_path: Path) -> None:
    path = tmp_path / "config"
    files.write_atomically(path, "old")
    program = (
        "import os, pathlib, signal\n"
        "from scripts import files\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_atomically(pathlib.Path({str(path)!r}), 'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    assert names(tmp_path) == [".config.tmp", "config"]
    files.write_atomically(path, "newer")
    assert path.read_text() == "newer"
    assert names(tmp_path) == ["config"]


def test_directory_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rendered").write_text("")
    with pytest.raises(ConfigError, match="config: cannot be written") as error:
        files.write_atomically(tmp_path / "rendered/config", "x")
    assert error.value.hint


def test_existing_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert files.create_exclusively(path, "first")
    assert not files.create_exclusively(path, "second")
    assert path.read_text() == "first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["key"]


def test_private_directory_lets_only_its_owner_in(tmp_path: Path) -> None:
    files.private_directory(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a/b").chmod(0o755)
    files.private_directory(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_private_directory_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rendered").write_text("")
    for path in (tmp_path / "rendered", tmp_path / "rendered/dev"):
        with pytest.raises(ConfigError, match=f"{path}: cannot be made a directory"):
            files.private_directory(path)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223")
