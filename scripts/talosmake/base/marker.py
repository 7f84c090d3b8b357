"""Markers: small JSON files that say that a step was done for an exact content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from talosmake.base import files
from talosmake.base.errors import ConfigError


def write(path: Path, **content: str | int | Sequence[object]) -> None:
    """Write a marker: its content, and the time (UTC)."""
    write_reproducibly(path, **content, time=datetime.now(UTC).isoformat(timespec="seconds"))


def write_reproducibly(path: Path, **content: str | int | Sequence[object]) -> None:
    """Write a marker without the time: the same bytes for the same step, done again.

    Snakemake then sees that nothing has changed for what comes after it.
    """
    files.write_atomically(path, json.dumps(content, indent=2) + "\n")


def read(path: Path) -> dict[str, object]:
    """What a marker says; nothing when it is not there.

    :raises ConfigError: when it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is no marker", hint="Remove it; it is made again.")
    return content


def revision(path: Path) -> int:
    """The revision in a marker of what is there, e.g. of machines; 0 where it says none.

    :raises ConfigError: as :func:`read`.
    """
    content = read(path)
    # Markers that older versions wrote call it so.
    number = content.get("revision", content.get("generation"))
    return number if isinstance(number, int) else 0
