"""The directories of nodes: node.env, the patches, and the address that one of them gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.inventory import canonical, endpoints, envfile, machine_facts, node_address, unread
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.facts import (
    refuse_built_in,
    refuse_environment_only,
    refuse_references,
)
from talosmake.inventory.model import Node, Role, natural
from talosmake.inventory.names import ENVIRONMENTS, check_name
from talosmake.patches.inject import inject_known
from talosmake.patches.patch import Patch, parse

# Facts that, empty, are taken from the node's address.
_FROM_ADDRESS = ("NODE_IP", "NODE_ENDPOINT", "NODE_ENDPOINT_HOST")
# Facts that are read from the node later, and have to be right now.
_CHECKED = ("NODE_MAINTENANCE_IP", "NODE_MAC", "NODE_UUID", "NODE_CERT_FINGERPRINT", "MAC_CHECK")


def read_nodes(directory: Path, facts: Mapping[str, str]) -> Iterable[Node]:
    """The nodes of an environment, by role and then by name.

    :param directory: the environment's.
    :param facts: of cluster.env, which node.env overrides.
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
        for entry in sorted(role_directory.iterdir(), key=lambda entry: natural(entry.name)):
            if entry.is_dir() and entry.name[0] != ".":
                yield _node(entry, role, layers, facts)


def _node(
    directory: Path, role: Role, layers: list[Path], cluster_facts: Mapping[str, str]
) -> Node:
    name = directory.name
    check_name(name, directory)
    env_file = directory / "node.env"
    own = canonical.facts(envfile.read(env_file))
    refuse_built_in(own, env_file)
    refuse_references(own, cluster_facts, env_file)
    refuse_environment_only(own, env_file)
    patches = (*layers, *unread.patch_files(directory))
    built_in = {"NODE_NAME": name, "NODE_ROLE": str(role)}
    given = Facts(own, (env_file,))
    hostname = given.text("NODE_HOSTNAME") or name.replace("_", "-")
    address = given.text("NODE_IP")
    if not address:
        known = {**cluster_facts, **own, **built_in, "NODE_HOSTNAME": hostname}
        address = _static_address(patches, directory, known)
    endpoint = given.text("NODE_ENDPOINT") or address
    derived = {
        "NODE_HOSTNAME": hostname,
        "NODE_IP": address,
        "NODE_ENDPOINT": endpoint,
        "NODE_ENDPOINT_HOST": endpoints.host_of(endpoint),
    }
    if cluster_facts.get(machine_facts.URI) and not own.get("NODE_MAC"):
        mac = machine_facts.derived_mac(cluster_facts["ENV"], f"{role}-{name}")
        derived["NODE_MAC"] = mac
    facts = {**cluster_facts, **own, **built_in, **derived}
    for fact in _CHECKED:
        given.text(fact)
    return Node(name, role, hostname, address, directory, patches, facts)


def _static_address(patches: Iterable[Path], directory: Path, facts: Mapping[str, str]) -> str:
    """The static address that the node's own patches give.

    :param facts: those that are known without it.
    """
    known = {name: value for name, value in facts.items() if name not in _FROM_ADDRESS or value}
    readable = [path for path in patches if is_plain(path)]
    own = [patch_with(path, text_of(path), known) for path in readable if path.parent == directory]
    texts = ((path, text_of(path)) for path in readable if path.parent != directory)
    shared = [patch_with(path, text, known) for path, text in texts if node_address.tells(text)]
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
