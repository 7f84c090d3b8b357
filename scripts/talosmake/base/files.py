"""Files written whole or not at all, readable by their owner only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from talosmake.base import refusals
from talosmake.base.errors import ConfigError

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
EXECUTABLE_FILE = 0o700
# So many processes are expected to write one file at the same time, at most.
_AT_ONCE = 4


def private_directory(path: Path) -> None:
    """Make ``path`` (and its parents) and let only its owner into it.

    :raises ConfigError: when it cannot be made, or is a file.
    """
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o777 != PRIVATE_DIRECTORY:
            path.chmod(PRIVATE_DIRECTORY)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be made a directory for you alone: {error.strerror}",
            hint="Remove the file that stands there, or make the directory above writable for you.",
        ) from None


_IGNORE_FILE = ".gitignore"


def output_directory(path: Path) -> None:
    """:func:`private_directory`, and Git leaves out all below it, in whoever's repository it is.

    The directory above as well, because all that is in it is of this kind.

    :raises ConfigError: as :func:`private_directory`.
    """
    private_directory(path)
    for directory in (path.parent, path):
        ignore_all(directory)


def ignore_all(directory: Path) -> None:
    """Have Git leave out a directory with all that is in it, also what says so.

    :raises ConfigError: when that cannot be written.
    """
    ignore = directory / _IGNORE_FILE
    # Whatever a person wrote there stays; an empty one was left by a full disk.
    if not (ignore.exists() and ignore.stat().st_size):
        write_atomically(ignore, "*\n")
    else:  # of one who was killed while another wrote it
        remove_leftover(ignore)


def ignore(path: Path) -> None:
    """Have Git leave out a file that stands among others which belong into Git.

    Its name goes into the ``.gitignore`` beside it.

    :raises ConfigError: when that cannot be written.
    """
    line = "/" + re.sub(r"([\\*?\[ ])", r"\\\1", path.name)
    ignore = path.with_name(_IGNORE_FILE)
    try:
        ignore.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        with ignore.open("a+", encoding="utf-8", errors="surrogateescape") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            said = file.read()
            if line not in said.splitlines():
                file.write(f"\n{line}\n" if said and not said.endswith("\n") else f"{line}\n")
    except OSError as error:
        raise _not_written(ignore, error) from None


def _not_written(path: Path, error: OSError) -> ConfigError:
    return refusals.as_error(error, path, "cannot be written")


def temporary_path(path: Path, number: int = 0) -> Path:
    """The name under which ``path`` is written before it is complete.

    It is the same for every attempt, so that the leftover of a killed run is written over by the
    next one instead of staying behind.

    :param number: of one more process that writes ``path`` at the same time.
    """
    return path.with_name(f".{path.name}.{number}.tmp" if number else f".{path.name}.tmp")


@dataclass(frozen=True)
class Temporary:
    """What is to become another file: open, and locked by who writes it."""

    path: Path
    file: BufferedRandom


@contextlib.contextmanager
def temporary(
    path: Path, mode: int = PRIVATE_FILE, while_taken: Callable[[], object] | None = None
) -> Iterator[Temporary]:
    """A file beside ``path``, empty, and no other process's or thread's; gone at the end.

    Rename it to keep it. The kernel drops the lock of a process that is killed, so the next attempt
    knows that its file is nobody's any more, and takes it over.

    :param mode: the permission bits; they hold from the first byte on.
    :param while_taken: called again and again while another one is there, to wait for its end
        instead of writing a second one beside it.
    :raises OSError: when it cannot be made.
    """
    number = 0
    while (file := _taken_over(temporary_path(path, number), mode)) is None:
        if while_taken:
            while_taken()
        else:
            number += 1
    made = Temporary(temporary_path(path, number), file)
    with file:
        _remove_abandoned(path, number + 1)
        try:
            yield made
        finally:
            if _is_at(made.path, file):
                made.path.unlink()


def _taken_over(place: Path, mode: int) -> BufferedRandom | None:
    """The file with a temporary name, locked and emptied; None while somebody else has it."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)
        with contextlib.ExitStack() as to_close:
            file = to_close.enter_context(os.fdopen(descriptor, "r+b"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            # Before it was locked, its owner may have renamed or removed it.
            if _is_at(place, file):
                os.fchmod(file.fileno(), mode)
                file.truncate()
                to_close.pop_all()
                return file


def _is_at(place: Path, file: BufferedRandom) -> bool:
    try:
        return os.path.samestat(place.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _remove_abandoned(path: Path, number: int) -> None:
    """Remove the temporary files from a number on whose processes were killed."""
    for one in range(number, number + _AT_ONCE):
        place = temporary_path(path, one)
        if place.exists():
            _remove_if_nobodys(place)


def _remove_if_nobodys(place: Path) -> None:
    """Remove a temporary file, unless a process that is alive has it."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), place.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(place, file):
            place.unlink()


def write_atomically(path: Path, content: str | bytes, mode: int = PRIVATE_FILE) -> None:
    """Write ``content`` to ``path`` so that it is there completely or not at all.

    Of several processes that do so at the same time, the last one's content stays, whole.

    :param mode: the file's permission bits; they hold from the first byte on.
    :raises ConfigError: when the directory or the file cannot be written.
    """
    with _written(path, content, mode) as made:
        made.path.replace(path)


@contextlib.contextmanager
def _written(path: Path, content: str | bytes, mode: int) -> Iterator[Temporary]:
    try:
        path.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        with temporary(path, mode) as made:
            made.file.write(content.encode() if isinstance(content, str) else content)
            made.file.flush()
            os.fsync(made.file.fileno())
            yield made
    except OSError as error:
        raise _not_written(path, error) from None


def create_exclusively(path: Path, content: str | bytes) -> bool:
    """Write ``path`` as :func:`write_atomically` does, but never over an existing file.

    :returns: False when ``path`` was there already; it is then left as it was.
    """
    with _written(path, content, PRIVATE_FILE) as made:
        try:
            os.link(made.path, path)
        except FileExistsError:
            return False
    return True


def remove_leftover(path: Path) -> None:
    """Remove what a run left that was killed while it made ``path`` exclusively.

    Where ``path`` is there, no later attempt writes over it.
    """
    _remove_abandoned(path, 0)


def remove_leftovers_in(directory: Path) -> None:
    """Remove the temporary files that killed runs left in a directory; nothing below it.

    What was killed while it wrote a file that needs no writing any more leaves one that no later
    attempt takes over.

    :raises OSError: when one cannot be removed.
    """
    for place in directory.glob(".*.tmp"):
        if place.is_file():
            _remove_if_nobodys(place)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
