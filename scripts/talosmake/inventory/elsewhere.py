"""One machine in two environments: an address, a MAC address or a UUID that both have.

Of other environments only node.env and cluster.env are read, and only the lines that count, as this
runs at the start of each run: a mistake in them is told where they are worked on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.base.progress import warn
from talosmake.inventory import canonical
from talosmake.inventory.model import Environment, Node, Role

# The lint rule that tells of it, and switches it off.
RULE = "machine-twice"
_LINE = re.compile(
    r"^\s*(?:export\s+)?(NODE_(?:IP|ENDPOINT|MAC|UUID)|CLUSTER_ENDPOINT|SIMULATED|LAB)\s*="
    r"""\s*(?:'([^'\n]*)'|"([^"\n]*)"|([^\s#'"]*))""",
    re.MULTILINE,
)
# These do not count for simulated nodes and labs, whose cards and networks nobody else sees.
_OF_A_MACHINE = ("NODE_MAC", "NODE_UUID")


@dataclass(frozen=True, order=True)
class Clash:
    """What two environments have in common and must not.

    :ivar file: the environment's own.
    :ivar other: another environment's; the first by name where several have it.
    :ivar more: how many files beside that have it, too.
    """

    fact: str
    value: str
    file: Path
    other: Path
    more: int = 0

    @property
    def message(self) -> str:
        what = "the address" if self.fact == "NODE_ENDPOINT" else self.fact
        more = f" (and in {self.more} more)" if self.more else ""
        return f"{what} {self.value} is in {self.other}, too{more}"


def clashes(environment: Environment) -> list[Clash]:
    """What the environment has in common with others; the others need not be right."""
    own: dict[tuple[str, str], Path] = {}
    for node in environment.nodes:
        for fact, value in _of(node, throwaway=environment.cluster.throwaway):
            own[fact, value] = node.env_file if node.env_file.exists() else node.directory
    if not environment.cluster.throwaway:
        own["CLUSTER_ENDPOINT", environment.cluster.endpoint] = environment.env_file
    found: dict[tuple[str, str], list[Path]] = {}
    for directory in sorted(environment.directory.parent.iterdir()):
        if directory != environment.directory and directory.name[0] != ".":
            for identity, path in _of_another(directory):
                if identity in own:
                    found.setdefault(identity, []).append(path)
    return [
        Clash(*identity, own[identity], paths[0], len(paths) - 1)
        for identity, paths in found.items()
    ]


def check(environment: Environment) -> None:
    """Refuse to work on machines that another environment has, too.

    :raises InventoryError: with both files, unless ``LINT_OFF`` names the rule.
    """
    found = clashes(environment)
    if found and not _is_off(environment):
        raise InventoryError(listed(found), hint=hint(environment))


def warn_of(environment: Environment, found: Sequence[Clash]) -> None:
    """Say at the start of a run what is refused as soon as it would touch a machine."""
    if found and not _is_off(environment):
        warn("\n  -> ".join([listed(found), *hint(environment).splitlines()]))


def _is_off(environment: Environment) -> bool:
    return RULE in environment.facts.get("LINT_OFF", "").replace(",", " ").split()


def listed(found: Sequence[Clash]) -> str:
    """All clashes, a line each."""
    return "\n".join(f"{clash.file}: {clash.message}" for clash in found)


def hint(environment: Environment) -> str:
    """What to do about them."""
    return (
        "One machine is one environment's: correct the file that is wrong, or remove what is no "
        f"longer a node.\nWhere both are right, write LINT_OFF={RULE} into {environment.env_file}, "
        "with the reason."
    )


def _of(node: Node, *, throwaway: bool) -> Iterator[tuple[str, str]]:
    """What tells a node's machine from others: where it is reached, and what it is."""
    yield "NODE_ENDPOINT", node.endpoint
    if not throwaway:
        yield from ((fact, node.facts[fact]) for fact in _OF_A_MACHINE if node.facts.get(fact))


def _of_another(directory: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """The same of another environment, as far as its files say it."""
    env_file = directory / "cluster.env"
    cluster = _read(env_file)
    throwaway = "true" in (cluster.get("SIMULATED"), cluster.get("LAB"))
    if not throwaway and cluster.get("CLUSTER_ENDPOINT"):
        yield ("CLUSTER_ENDPOINT", cluster["CLUSTER_ENDPOINT"]), env_file
    for role in Role:
        for path in sorted(directory.glob(f"{role.directory}/*/node.env")):
            facts = _read(path)
            if endpoint := facts.get("NODE_ENDPOINT") or facts.get("NODE_IP"):
                yield ("NODE_ENDPOINT", endpoint), path
            for fact in _OF_A_MACHINE:
                if not throwaway and facts.get(fact):
                    yield (fact, facts[fact]), path


def _read(path: Path) -> Mapping[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found = {match[1]: match[2] or match[3] or match[4] or "" for match in _LINE.finditer(text)}
    return canonical.facts(found)
