from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from talosmake.base import files
from talosmake.base.errors import ConfigError
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
        "from talosmake.base import files\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_atomically(pathlib.Path({str(path)!r}), 'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY / "scripts", check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    assert names(tmp_path) == [".config.tmp", "config"]
    files.write_atomically(path, "newer")
    assert path.read_text() == "newer"
    assert names(tmp_path) == ["config"]


def test_each_of_two_processes_writes_its_own_file(tmp_path: Path) -> None:
    """While one writes, another one does, too: both are whole, and nothing is left."""
    path = tmp_path / "config"
    with files.temporary(path) as one:
        one.file.write(b"o")
        files.write_atomically(path, "other")
        assert path.read_text() == "other"
        assert not files.create_exclusively(path, "third")
        files.remove_leftover(path)
        one.file.write(b"ne")
        one.file.flush()
        one.path.replace(path)
    assert path.read_text() == "one"
    assert names(tmp_path) == ["config"]


def test_what_killed_runs_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    for name in (".left.tmp", ".left.2.tmp", ".hidden", "kept.tmp"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".directory.tmp").mkdir()
    with files.temporary(tmp_path / "config") as at_work:
        files.remove_leftovers_in(tmp_path)
        assert names(tmp_path) == [".config.tmp", ".directory.tmp", ".hidden", "kept.tmp"]
        at_work.path.replace(tmp_path / "config")
    files.remove_leftovers_in(tmp_path / "missing")


WRITE_OFTEN = """
import pathlib, sys
from talosmake.base import files
path = pathlib.Path(sys.argv[1])
for number in range(300):
    files.write_atomically(path, sys.argv[2] * 5000)
    assert path.read_text() in ("a" * 5000, "b" * 5000, "c" * 5000)
files.create_exclusively(path.with_name("key"), sys.argv[2] * 5000)
"""


def test_many_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "config"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_OFTEN, str(path), letter], cwd=REPOSITORY / "scripts"
        )
        for letter in "abc"
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(set(path.read_text())) == 1
    assert len(set((tmp_path / "key").read_text())) == 1
    assert names(tmp_path) == ["config", "key"]


def test_what_a_killed_second_writer_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "config"
    for number in (0, 1, 2):
        files.temporary_path(path, number).write_text("half")
    files.write_atomically(path, "new")
    assert names(tmp_path) == ["config"]


def test_a_writer_can_wait_for_another(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with contextlib.ExitStack() as first:
        one = first.enter_context(files.temporary(path))
        one.path.replace(path)
        path.write_text("whole")
        # The name is free again, as is another one's who renamed it.
        with files.temporary(path, while_taken=lambda: pytest.fail("nobody has it")) as other:
            assert other.path == files.temporary_path(path)
            asked = []

            def wait() -> None:
                asked.append(1)
                if len(asked) == 3:
                    raise TimeoutError

            with pytest.raises(TimeoutError), files.temporary(path, while_taken=wait):
                pytest.fail("somebody has it")
    assert names(tmp_path) == ["image"]


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


def test_git_leaves_out_what_an_output_directory_holds(tmp_path: Path) -> None:
    root = tmp_path / "rendered_configs/dev"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    files.output_directory(root)
    (root / "talosconfig").write_text("x")
    assert status(tmp_path) == []
    assert root.stat().st_mode & 0o777 == 0o700
    # What a person wrote there stays; what a full disk left of it does not.
    (root / ".gitignore").write_text("*.yaml\n")
    (root.parent / ".gitignore").write_text("")
    files.output_directory(root)
    assert (root / ".gitignore").read_text() == "*.yaml\n"
    assert (root.parent / ".gitignore").read_text() == "*\n"


def status(repository: Path) -> list[str]:
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    done = subprocess.run(command, cwd=repository, capture_output=True, check=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["age.key", "#a", "!a", "a b*[c]?\\d ", "-x"])
def test_git_leaves_out_a_single_file(tmp_path: Path, name: str) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("other")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(files.ignore, [tmp_path / "keys" / name, tmp_path / name] * 4))
    (tmp_path / "keys" / name).write_text("x")
    (tmp_path / name).write_text("x")
    assert status(tmp_path) == ["?? .gitignore", "?? keys/.gitignore"]
    assert len((tmp_path / ".gitignore").read_text().splitlines()) == 2


def test_directory_that_cannot_be_left_out_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a/.gitignore").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"a/\.gitignore: cannot be written: "):
        files.ignore(tmp_path / "a/key")


def test_leftover_of_an_ignore_file_that_is_there_goes(tmp_path: Path) -> None:
    """Jobs side by side write it; one was killed, and another one's is there."""
    files.ignore_all(tmp_path)
    left = files.temporary_path(tmp_path / ".gitignore", 1)
    left.write_text("")
    files.ignore_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]
