"""The directories of nodes: node.env, the patches, and the address that one of them gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.inventory import (
    canonical,
    endpoints,
    envfile,
    image_facts,
    machine_facts,
    node_address,
    unread,
)
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.facts import (
    refuse_built_in,
    refuse_environment_only,
    refuse_node_only,
    refuse_references,
)
from talosmake.inventory.image_facts import Choice
from talosmake.inventory.model import Node, Role, natural
from talosmake.inventory.names import ENVIRONMENTS, check_name
from talosmake.patches.inject import inject_known
from talosmake.patches.patch import Patch, parse

# Facts that, empty, are taken from the node's address.
_FROM_ADDRESS = ("NODE_IP", "NODE_ENDPOINT", "NODE_ENDPOINT_HOST")
# Facts that are read from the node later, and have to be right now.
_CHECKED = ("NODE_MAINTENANCE_IP", "NODE_MAC", "NODE_UUID", "NODE_CERT_FINGERPRINT", "MAC_CHECK")


def read_nodes(directory: Path, facts: Mapping[str, str], chosen: Choice) -> Iterable[Node]:
    """The nodes of an environment, by role and then by name.

    :param directory: the environment's.
    :param facts: of cluster.env, which a role's common.env and node.env override.
    :param chosen: the images that cluster.env asks for.
    :raises InventoryError: for the first mistake in a node's files.
    """
    environment_layers = [
        *unread.common(ENVIRONMENTS.parent),
        *unread.common(directory),
    ]
    for role in Role:
        role_directory = directory / role.directory
        if not role_directory.is_dir():
            continue
        layers = [*environment_layers, *unread.common(role_directory)]
        shared = _facts_of_role(role_directory, facts, chosen)
        for entry in sorted(role_directory.iterdir(), key=lambda entry: natural(entry.name)):
            if entry.is_dir() and entry.name[0] != ".":
                yield _node(entry, role, layers, shared)


@dataclass(frozen=True)
class _Shared:
    """What all nodes of a role have, unless their node.env says something else.

    :ivar files: the env files that the facts may stand in, the nearest first.
    :ivar chosen: the images that they ask for.
    """

    facts: Mapping[str, str]
    files: tuple[Path, ...]
    chosen: Choice

    def under(self, own: Mapping[str, str], path: Path) -> _Shared:
        """With the facts of a nearer file over them."""
        facts, files = image_facts.over(self.facts, own, path), (path, *self.files)
        if not own.keys() & set(image_facts.NAMES):
            return _Shared(facts, files, self.chosen)
        chosen = image_facts.read(Facts(facts, files), files[-1].parent)
        return _Shared(image_facts.with_id(facts, chosen), files, chosen)


def _facts_of_role(directory: Path, facts: Mapping[str, str], chosen: Choice) -> _Shared:
    shared = _Shared(facts, (directory.parent / "cluster.env",), chosen)
    path = directory / unread.ROLE_FACTS
    if not path.exists():
        return shared
    own = canonical.facts(envfile.read(path))
    refuse_built_in(own, path)
    refuse_references(own, facts, path)
    refuse_node_only(own, path)
    refuse_environment_only(own, path, "role")
    return shared.under(own, path)


def _node(directory: Path, role: Role, layers: list[Path], shared: _Shared) -> Node:
    name = directory.name
    check_name(name, directory)
    env_file = directory / "node.env"
    own = canonical.facts(envfile.read(env_file))
    refuse_built_in(own, env_file)
    refuse_references(own, shared.facts, env_file)
    refuse_environment_only(own, env_file)
    merged = shared.under(own, env_file)
    patches = (*layers, *unread.patch_files(directory))
    built_in = {"NODE_NAME": name, "NODE_ROLE": str(role)}
    given = Facts(own, (env_file,))
    hostname = given.text("NODE_HOSTNAME") or name.replace("_", "-")
    address = given.text("NODE_IP")
    if not address:
        known = {**merged.facts, **built_in, "NODE_HOSTNAME": hostname}
        address = _static_address(patches, directory, known)
    endpoint = given.text("NODE_ENDPOINT") or address
    derived = {
        "NODE_HOSTNAME": hostname,
        "NODE_IP": address,
        "NODE_ENDPOINT": endpoint,
        "NODE_ENDPOINT_HOST": endpoints.host_of(endpoint),
    }
    if shared.facts.get(machine_facts.URI) and not own.get("NODE_MAC"):
        mac = machine_facts.derived_mac(shared.facts["ENV"], f"{role}-{name}")
        derived["NODE_MAC"] = mac
    facts = {**merged.facts, **built_in, **derived}
    for fact in _CHECKED:
        given.text(fact)
    return Node(
        name, role, hostname, address, directory, patches, facts, merged.chosen, merged.files
    )


def _static_address(patches: Iterable[Path], directory: Path, facts: Mapping[str, str]) -> str:
    """The static address that the node's own patches give.

    :param facts: those that are known without it.
    """
    known = {name: value for name, value in facts.items() if name not in _FROM_ADDRESS or value}
    readable = [path for path in patches if is_plain(path)]
    own = [patch_with(path, text_of(path), known) for path in readable if path.parent == directory]
    texts = ((path, text_of(path)) for path in readable if path.parent != directory)
    shared = [
        patch_with(path, text, known) for path, text in texts if node_address.may_matter(text)
    ]
    found = node_address.found(own, shared)
    addresses, file = found.addresses, directory / "node.env"
    if not addresses:
        hint = f"Write it into {file}:  NODE_IP=10.0.1.11\n"
        if found.others:
            hint += f"These in its patches do not count: {', '.join(found.others)}."
        else:
            hint += "(or give the node a static address in one of its patches)"
        raise InventoryError(f"{directory}: the node has no address", hint=hint)
    if len(addresses) > 1:
        raise InventoryError(
            f"{directory}: its patches give the node several addresses: {', '.join(addresses)}",
            hint="Write the one at which its Talos API answers into "
            f"{file}, e.g.  NODE_IP={addresses[0]}",
        )
    return addresses[0]


def patch_with(path: Path, text: str, facts: Mapping[str, str]) -> Patch:
    """A plain patch with the facts in it."""
    return parse(inject_known(text, facts), path)


def text_of(path: Path) -> str:
    """What stands in a patch."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InventoryError(f"{path}: cannot be read: {error.strerror}") from None


def is_plain(path: Path) -> bool:
    """Whether a patch can be read without a key."""
    return ".sops." not in path.name
