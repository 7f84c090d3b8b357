"""The form in which a person's own repository is: a number, and what talosmake itself wrote there.

Both stand in ``.talosmake.json``, which ``talosmake init`` and ``talosmake migrate`` write. A
repository without it is of format 1, or a clone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talosmake.base.errors import ConfigError
from talosmake.base.program import version

FILE = Path(".talosmake.json")
# Raised with each change that needs another file, or another form of one, in the repository.
# 2: Snakefile names the default target; what init wrote is recorded.
FORMAT = 2


@dataclass(frozen=True)
class Record:
    """What a repository says of itself.

    :ivar format: its number.
    :ivar written: the SHA-256, in hex, of each file as talosmake wrote it last, by its path.
    """

    format: int = 1
    written: Mapping[str, str] = field(default_factory=dict)


def read() -> Record:
    """The record of the repository in this directory.

    :raises ConfigError: when it is no record, or of a format that only a newer talosmake knows.
    """
    try:
        content = json.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError) as error:
        raise _unreadable(str(error)) from None
    number, written = _of(content, "format"), _of(content, "written")
    if not isinstance(number, int) or not isinstance(written, dict):
        raise _unreadable("it has no format, or no list of what was written")
    if number > FORMAT:
        raise ConfigError(
            f"{FILE}: this repository has format {number}, and talosmake {version()} knows no "
            f"later one than {FORMAT}",
            hint="Install the version that the repository pins:  pip install -r requirements.txt",
        )
    return Record(number, {str(path): str(digest) for path, digest in written.items()})


def _of(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def _unreadable(why: str) -> ConfigError:
    return ConfigError(
        f"{FILE}: cannot be read: {why}",
        hint=f"Take it from the last commit:  git checkout -- {FILE}",
    )


def text(written: Mapping[str, str]) -> str:
    """A record in today's format.

    :param written: digests, by the files' paths.
    """
    return json.dumps({"format": FORMAT, "written": dict(sorted(written.items()))}, indent=1) + "\n"


def digest(content: str) -> str:
    """How a file's content is recorded."""
    return hashlib.sha256(content.encode()).hexdigest()
