"""The one module that asks Git about a person's files."""

from __future__ import annotations

from pathlib import Path

from scripts.errors import ToolError
from scripts.process import run


def committed(path: Path) -> str | None:
    """What the last commit holds at a path; None outside a repository, or where it holds nothing.

    :param path: below the working directory.
    """
    try:
        result = run(["git", "show", f"HEAD:./{path}"], timeout=10)
    except ToolError:
        return None
    return result.stdout.decode(errors="replace") if result.ok else None
