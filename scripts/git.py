"""The one module that asks Git about a person's files."""

from __future__ import annotations

from pathlib import Path

from scripts.errors import ToolError
from scripts.process import run


def root() -> Path | None:
    """The repository that the working directory is in; None where it is in none."""
    answer = _ask("rev-parse", "--show-toplevel")
    return Path(answer.strip()) if answer else None


def described() -> str:
    """The last commit as ``git describe`` names it, ``-dirty`` where files were changed since."""
    return (_ask("describe", "--always", "--dirty", "--tags") or "").strip()


def ignores(path: Path) -> bool:
    """Whether Git leaves out a file at this path, below the working directory."""
    return _ask("check-ignore", "--no-index", str(path)) is not None


def hook(name: str) -> bool:
    """Whether Git runs a hook of that name."""
    directory = _ask("rev-parse", "--git-path", "hooks")
    return directory is not None and (Path(directory.strip()) / name).is_file()


def committed(path: Path) -> str | None:
    """What the last commit holds at a path; None outside a repository, or where it holds nothing.

    :param path: below the working directory.
    """
    return _ask("show", f"HEAD:./{path}")


def _ask(*arguments: str) -> str | None:
    try:
        result = run(["git", *arguments], timeout=10)
    except ToolError:
        return None
    return result.stdout.decode(errors="replace") if result.ok else None
