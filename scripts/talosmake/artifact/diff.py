"""What two artifacts differ in, as Markdown: ``python -m talosmake.artifact.diff OLD NEW``.

For the summary of a pull request: OLD is from its base, NEW from its head. Each is a file, or a
directory of such files, one an environment. Only what is redacted is read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path

from talosmake.artifact import archive, pack
from talosmake.base.errors import ArtifactError
from talosmake.base.streams import outlive_readers
from talosmake.render import disclosure
from talosmake.render.compare import unified

_CONFIGS = "configs/"
# Longer than what a config holds, so that none ends the block.
_FENCE = "`" * 8
Members = Mapping[str, bytes]


def main(arguments: list[str]) -> int:
    """Print the differences; 0, whether there are any or not, and 1 for a mistake."""
    if len(arguments) != 2:
        print("usage: python -m talosmake.artifact.diff OLD NEW", file=sys.stderr)
        return 1
    try:
        old, new = (read(Path(argument)) for argument in arguments)
    except ArtifactError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(markdown(old, new)))
    return 0


def read(path: Path) -> dict[str, Members]:
    """The members of artifacts by environment.

    :param path: an artifact, or a directory of them; one that is not there holds none.
    :raises ArtifactError: when a file is no artifact, or two are of one environment.
    """
    found: dict[str, Members] = {}
    for file in sorted(path.rglob("talos-*.tar.gz")) if not path.is_file() else [path]:
        try:
            members = archive.unpack(archive.decompress(file.read_bytes()))
            environment = json.loads(members[pack.MANIFEST])["environment"]
        except (ArtifactError, KeyError, ValueError) as error:
            raise ArtifactError(f"{file}: is no artifact: {error}") from None
        if environment in found:
            raise ArtifactError(
                f"{file}: is the second artifact of {environment} in {path}",
                hint="Name the one file, or remove what is not to be compared.",
            )
        found[environment] = members
    return found


def markdown(old: Mapping[str, Members], new: Mapping[str, Members]) -> Iterator[str]:
    """The differences of each environment, and what lint finds in the new one."""
    for environment in sorted({*old, *new}):
        before, after = old.get(environment, {}), new.get(environment, {})
        yield from _environment(environment, before, after)


def _environment(environment: str, old: Members, new: Members) -> Iterator[str]:
    names = sorted(name for name in {*old, *new} if name.startswith(_CONFIGS))
    changed = {name: lines for name in names if (lines := _config(name, old, new))}
    yield f"### {environment}: {len(changed)} of {len(names)} machine configs change"
    if changed:
        yield from _block(line for lines in changed.values() for line in lines)
    lint = _lines(new, pack.LINT)
    if lint != _lines(old, pack.LINT):
        yield from ("Lint, as it is now:", *_block(lint, "text"))


def _config(name: str, old: Members, new: Members) -> list[str]:
    stem = name.removeprefix(_CONFIGS).removesuffix(".yaml")
    if name not in new:
        return [f"--- {stem}", "+++ no longer in Git"]
    if name not in old:
        return ["--- not in Git before", f"+++ {stem}"]
    before, after = (disclosure.parsed(members[name]) for members in (old, new))
    lines = unified(before, after)
    if not lines and old[name] != new[name]:
        lines = list(unified_diff(_lines(old, name), _lines(new, name), lineterm=""))[2:]
    return [f"--- {stem} before", f"+++ {stem} now", *lines] if lines else []


def _lines(members: Members, name: str) -> list[str]:
    return members.get(name, b"").decode().splitlines()


def _block(lines: Iterator[str] | list[str], language: str = "diff") -> Iterator[str]:
    yield from ("", f"{_FENCE}{language}", *lines, _FENCE, "")


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main(sys.argv[1:]))
