"""Files written whole or not at all, readable by their owner only."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from scripts.errors import ConfigError

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
EXECUTABLE_FILE = 0o700


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


def temporary_path(path: Path) -> Path:
    """The name under which ``path`` is written before it is complete.

    It is the same for every attempt, so that the leftover of a killed run is written over by the
    next one instead of staying behind.
    """
    return path.with_name(f".{path.name}.tmp")


def write_atomically(path: Path, content: str | bytes, mode: int = PRIVATE_FILE) -> None:
    """Write ``content`` to ``path`` so that it is there completely or not at all.

    :param mode: the file's permission bits; they hold from the first byte on.
    :raises ConfigError: when the directory or the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb"
        ) as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}",
            hint="Make the directory writable for you, or run as the user it belongs to.",
        ) from None


def create_exclusively(path: Path, content: str | bytes) -> bool:
    """Write ``path`` as :func:`write_atomically` does, but never over an existing file.

    :returns: False when ``path`` was there already; it is then left as it was.
    """
    temporary = temporary_path(path)
    write_atomically(temporary, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def remove_leftover(path: Path) -> None:
    """Remove what a run left that was killed while it made ``path`` exclusively.

    Where ``path`` is there, no later attempt writes over it.
    """
    temporary = temporary_path(path)
    for left in (temporary, temporary_path(temporary)):
        left.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
