"""Asking Git about a person's files; :mod:`talosmake.base.blobs` reads what is committed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from talosmake.base.errors import ArtifactError, ToolError
from talosmake.base.process import run


def root(directory: Path = Path()) -> Path | None:
    """The repository that a directory is in; None where it is in none."""
    answer = _ask("-C", str(directory), "rev-parse", "--show-toplevel")
    return Path(answer.removesuffix("\n")) if answer else None


def described() -> str:
    """The last commit as ``git describe`` names it, ``-dirty`` where files were changed since."""
    return (_ask("describe", "--always", "--dirty", "--tags") or "").strip()


def ignores(path: Path) -> bool:
    """Whether Git leaves out a file at this path, below the working directory."""
    return _ask("check-ignore", "--no-index", str(path)) is not None


def tracks(path: Path) -> bool:
    """Whether Git has a file at or below this path, whatever it ignores."""
    return bool(_ask("ls-files", "--", str(path)))


def would_take(path: Path) -> bool:
    """Whether ``git add`` takes a file at this path, wherever that is.

    In the project also where there is no repository yet.
    """
    there = next(parent for parent in path.absolute().parents if parent.is_dir())
    inside = _ask("-C", str(there), "rev-parse", "--is-inside-work-tree")
    if inside is None:
        return path.resolve().is_relative_to(Path.cwd())
    ignored = _ask("-C", str(there), "check-ignore", "--no-index", str(path.absolute()))
    return inside.strip() == "true" and ignored is None


def hook(name: str) -> Path | None:
    """The hook of that name; None where there is none."""
    directory = _ask("rev-parse", "--git-path", "hooks")
    path = Path(directory.removesuffix("\n")) / name if directory is not None else None
    return path if path and path.is_file() else None


@dataclass(frozen=True)
class Commit:
    """The commit that is checked out.

    :ivar sha: in hex.
    :ivar time: when it was committed, in seconds since 1970.
    :ivar version: what ``git describe`` says: a tag, or the start of the commit's hash.
    :ivar dirty: whether there are files that are changed, or not in Git and not ignored.
    """

    sha: str
    time: int
    version: str
    dirty: bool


def commit() -> Commit:
    """The commit of the working directory.

    :raises ArtifactError: when it is in no repository, or nothing was committed.
    """
    sha, time = _git("show", "--no-patch", "--format=%H %ct", "HEAD").split()[-2:]
    version = _git("describe", "--tags", "--always", "--abbrev=12").strip()
    dirty = bool(_git("status", "--porcelain").strip())
    return Commit(sha, int(time), version + "-dirty" * dirty, dirty)


def _git(*arguments: str) -> str:
    result = run(["git", *arguments], timeout=60)
    if not result.ok:
        said = (result.stderr.strip().splitlines() or ["no message"])[0]
        raise ArtifactError(
            f"Git does not say which commit this is: {said}",
            hint="An artifact belongs to a commit: run this in the repository, after a commit.",
        )
    return result.stdout.decode(errors="replace")


def committed(path: Path) -> str | None:
    """What the last commit holds at a path; None outside a repository, or where it holds nothing.

    :param path: below the working directory; links in the commit are followed.
    :raises ToolError: when there is a repository, and Git does not read it.
    """
    command = ["git", "cat-file", "--batch", "--follow-symlinks"]
    try:
        result = run(command, stdin=f"HEAD:./{path}\n".encode(), timeout=10)
        said = "" if result.ok else (result.stderr.strip().splitlines() or ["no message"])[0]
    except ToolError as error:
        said = error.message
    if not said:
        head, _, content = result.stdout.partition(b"\n")
        is_there = re.fullmatch(rb"[0-9a-f]+ blob [0-9]+", head)
        return content.removesuffix(b"\n").decode(errors="replace") if is_there else None
    here = Path.cwd()
    if any((directory / ".git").exists() for directory in (here, *here.parents)):
        raise ToolError(
            f"{path}: Git does not say what the last commit holds: {said}",
            hint="Fix that first: what is in Git counts here.",
        )
    return None


def _ask(*arguments: str) -> str | None:
    try:
        result = run(["git", *arguments], timeout=10)
    except ToolError:
        return None
    return result.stdout.decode(errors="replace") if result.ok else None
