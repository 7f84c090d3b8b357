"""Finding plain secrets in what Git holds: ``python -m talosmake.secrets.check``.

It looks at what is, or would be, committed, and not at the working directory: a file that was
encrypted there may still be staged as it was before.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from talosmake.base import blobs
from talosmake.base.blobs import Blob
from talosmake.base.errors import SecretsError, TalosmakeError
from talosmake.secrets import encrypted, plain
from talosmake.secrets.plain import HINT

# What is in each project; of a larger repository nothing else is looked at.
_PROJECT = re.compile(
    r"(.*/)?(patches/envs/[^/]+/cluster\.env|scripts/talosmake/secrets/check\.py)", re.DOTALL
)


def in_content(
    content: bytes, name: str, *, link: bool = False, past: bool = False
) -> Iterator[str]:
    """What in a file must not be in Git, each with the line it stands in.

    :param name: the file's path.
    :param link: it is a symbolic link, and the content where it leads.
    :param past: it is committed, so that a change of the file is no remedy.
    """
    shown = name if name.isprintable() else ascii(name)
    if _must_be_encrypted(PurePosixPath(name)) and not link and not encrypted.is_whole(content):
        yield f"{shown}: is not encrypted" + ("" if past else f"; run: {_remedy(name)}")
    for finding in plain.findings(content, name):
        yield f"{shown}:{finding.line}: holds {finding.what}"


def _remedy(name: str) -> str:
    quoted = shlex.quote(name)
    try:
        on_disk = Path(name).read_bytes()
    except OSError:
        on_disk = b""
    stage = f"git add {quoted}"
    if encrypted.is_whole(on_disk):
        return f"{stage} (it is encrypted on disk, but not as it is staged)"
    return f"sops encrypt --in-place {quoted} && {stage}"


def _must_be_encrypted(path: PurePosixPath) -> bool:
    in_secrets = path.parent.name == "secrets" and path.suffix in (".yaml", ".yml")
    # .sops.yaml itself holds sops's rules: public keys only.
    is_patch = path.name.endswith((".sops.yaml", ".sops.yml")) and path.name != ".sops.yaml"
    return in_secrets or is_patch


def findings(path: Path) -> Iterator[str]:
    """What is in a file as it is on disk.

    :raises SecretsError: when it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SecretsError(f"{path}: cannot be read: {error.strerror}") from None
    yield from in_content(content, str(path))


def in_index(*, staged: bool = False) -> Iterator[str]:
    """What is in the next commit, with the files that it does not change.

    :param staged: without them.
    """
    yield from _in_blobs(blobs.staged() if staged else blobs.tracked())


def in_commits(commits: Sequence[str]) -> Iterator[str]:
    """What each of these commits brought, also where a later one took it away."""
    yield from _in_blobs(blobs.brought(commits))


def _in_blobs(found: Sequence[Blob]) -> Iterator[str]:
    """Each content under each of its names is looked at once."""
    wanted: dict[tuple[str, str], Blob] = {}
    for one in _of_projects(found):
        wanted.setdefault((one.object, one.name), one)
    below = blobs.prefix()
    contents = blobs.contents(one.object for one in wanted.values())
    for blob, content in zip(wanted.values(), contents, strict=True):
        where = f"commit {blob.commit[:12]}: " if blob.commit else ""
        name, past = blob.name.removeprefix(below), bool(blob.commit)
        for finding in in_content(content, name, link=blob.is_link, past=past):
            yield where + finding


def _of_projects(found: Sequence[Blob]) -> list[Blob]:
    """Those in the project that this is called in; at the top of a repository, of all its projects.

    Where there is no project, all: one is about to be made.
    """
    below = blobs.prefix()
    tops = {below} if below else _tops(blob.name for blob in blobs.tracked())
    return [blob for blob in found if not tops or blob.name.startswith(tuple(tops))]


def _tops(names: Iterable[str]) -> set[str]:
    """The directories of projects, each with a slash at its end; "" for the repository's own."""
    return {match[1] or "" for name in names if (match := _PROJECT.fullmatch(name))}


_KNOWN = """\
What was pushed is known, also when a later commit takes it away: make new secrets. What was not is
taken out of its commit with 'git rebase --interactive'."""


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="check_secrets",
        description="Look for secrets in plain text in what Git holds: without arguments in all "
        "files of the index, which is what the next commit holds. Exit code 1 when there are any.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--staged", action="store_true", help="only what the next commit changes")
    which.add_argument(
        "--commits",
        metavar="RANGE",
        help="what each commit of the range brought, e.g. origin/main..HEAD, also where a later "
        "one took it away",
    )
    which.add_argument(
        "files", nargs="*", default=[], metavar="FILE", help="these files as they are on disk"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Look, and tell; exit code 1 when something was found, or could not be looked at."""
    parsed = _parsed(arguments)
    try:
        found = list(_looked_for(parsed))
    except TalosmakeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if found:
        hint = f"{HINT}\n{_KNOWN}" if parsed.commits else HINT
        print(SecretsError("\n".join(found), hint=hint), file=sys.stderr)
    return 1 if found else 0


def _looked_for(parsed: argparse.Namespace) -> Iterator[str]:
    if parsed.files:
        for name in parsed.files:
            yield from findings(Path(name))
    elif parsed.commits is not None:
        commits = blobs.commits(parsed.commits)
        print(f"check_secrets: {len(commits)} commits in {parsed.commits}")
        yield from in_commits(commits)
    else:
        yield from in_index(staged=parsed.staged)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
