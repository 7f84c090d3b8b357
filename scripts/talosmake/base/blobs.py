"""What Git holds, not what lies in the directory: files of the index and of commits.

All contents come through one ``git cat-file``. Names are bytes to Git; here they are text as Python
has file names, so that none is lost.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from talosmake.base.errors import ToolError
from talosmake.base.process import find, run

_LINK, _SUBMODULE = "120000", "160000"
_TIMEOUT = 300
# Not what a replacement (git replace), which stays in one clone, makes of it.
_AS_STORED = "--no-replace-objects"


@dataclass(frozen=True)
class Blob:
    """One version of a file in Git.

    :ivar object: the hash of its content.
    :ivar name: from the top of the repository.
    :ivar is_link: it is a symbolic link; its content is where it leads.
    :ivar commit: the commit that brought it, in hex; "" for the index.
    """

    object: str
    name: str
    is_link: bool = False
    commit: str = ""


def prefix() -> str:
    """Where the working directory is in its repository, with a slash at the end; "" at the top.

    :raises ToolError: outside a repository.
    """
    return os.fsdecode(_git("rev-parse", "--show-prefix")).removesuffix("\n")


def tracked() -> list[Blob]:
    """All files of the index; ``git commit -a`` and ``git commit FILE`` have one of their own."""
    # From the top, wherever this runs.
    listed = _git("ls-files", "--stage", "-z", "--full-name", "--", ":/")
    return [one for entry in _records(listed) if (one := _of_index(entry))]


def _of_index(entry: str) -> Blob | None:
    said, _, name = entry.partition("\t")
    mode, digest, _ = said.split()
    return None if mode == _SUBMODULE else Blob(digest, name, mode == _LINK)


def staged() -> list[Blob]:
    """The files of the index that the last commit does not have like this."""
    changed = _git("diff-index", "--cached", *_DIFFERENCE, _head(), "--")
    return list(_changed(_records(changed)))


def _head() -> str:
    """The last commit; before the first one, the tree that holds nothing."""
    said = run(["git", "rev-parse", "--verify", "--quiet", "HEAD^{commit}"], timeout=_TIMEOUT)
    if said.ok:
        return said.stdout.decode().strip()
    return _git("hash-object", "-t", "tree", "--stdin").decode().strip()


# Renamed files are looked at under their new name; what is gone has nothing to look at.
_DIFFERENCE = ("--raw", "-z", "--no-abbrev", "--no-renames", "--no-relative", "--diff-filter=d")


def commits(revisions: str) -> list[str]:
    """The commits of a range such as ``origin/main..HEAD``, in hex, the oldest first.

    :raises ToolError: when Git does not know it, or the clone does not hold all of its history.
    """
    if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise ToolError(
            f"{revisions}: this clone is shallow, so commits may be missing",
            hint="Fetch them all: git fetch --unshallow; in a pipeline fetch-depth: 0 of "
            "actions/checkout, GIT_DEPTH: 0 of GitLab.",
        )
    try:
        listed = _git("rev-list", "--reverse", "--end-of-options", revisions, "--")
    except ToolError as error:
        raise ToolError(
            f"{revisions}: {error.message}",
            hint="Name a range of commits that are here, e.g. origin/main..HEAD; git fetch brings "
            "what is missing.",
        ) from None
    return listed.decode().split()


def brought(commits: Sequence[str]) -> list[Blob]:
    """The files that each commit brought or changed, also those that a later one took away.

    Of a merge those that none of its parents has like this.
    """
    if not commits:  # for which Git would take HEAD
        return []
    listed = "".join(f"{commit}\n" for commit in commits).encode()
    log = _git(
        *("log", "--stdin", "--no-walk=unsorted", "--root", "--diff-merges=combined"),
        "--no-show-signature",
        *("--format=%x00commit %H", *_DIFFERENCE),
        stdin=listed,
    )
    return list(_changed(_records(log)))


def _changed(records: Iterator[str]) -> Iterator[Blob]:
    """What ``--raw -z`` says: a colon for each parent, modes, hashes, a letter; then the name."""
    commit = ""
    for record in records:
        head = record.lstrip("\n")
        if not head:
            continue
        if head.startswith("commit "):
            commit = head.removeprefix("commit ").strip()
            continue
        parents = len(head) - len(head.lstrip(":"))
        if not parents:
            raise ToolError(f"git shows changes in a way that is not known here: {head[:60]!r}")
        fields = head[parents:].split()
        mode, digest, name = fields[parents], fields[2 * parents + 1], next(records)
        if mode != _SUBMODULE and digest.strip("0"):
            yield Blob(digest, name, mode == _LINK, commit)


def _records(output: bytes) -> Iterator[str]:
    return (os.fsdecode(record) for record in output.split(b"\0") if record)


def contents(objects: Iterable[str]) -> Iterator[bytes]:
    """The contents of these objects, in this order.

    :raises ToolError: when Git does not have one.
    """
    command = [find("git"), _AS_STORED, "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:
        assert git.stdin  # noqa: S101 - a pipe
        assert git.stdout  # noqa: S101 - a pipe
        for one in objects:
            git.stdin.write(f"{one}\n".encode())
            git.stdin.flush()
            said = git.stdout.readline().split()
            if len(said) != 3:
                raise ToolError(
                    f"git does not have the object {one}",
                    hint="This clone is not complete: clone again, without --filter and --depth.",
                )
            content = git.stdout.read(int(said[2]))
            git.stdout.read(1)
            yield content
        git.stdin.close()


def _git(*arguments: str, stdin: bytes = b"") -> bytes:
    result = run(["git", _AS_STORED, *arguments], stdin=stdin, timeout=_TIMEOUT)
    if not result.ok:
        said = (result.stderr.strip().splitlines() or ["no message"])[0]
        raise ToolError(f"git {arguments[0]}: {said.removeprefix('fatal: ')}")
    return result.stdout
