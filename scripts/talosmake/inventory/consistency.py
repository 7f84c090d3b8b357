"""What must hold for the nodes of an environment together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from talosmake.base.errors import InventoryError
from talosmake.inventory import factory, image_facts, machine_facts
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.model import Environment, Node, Role
from talosmake.inventory.names import ALL, environment_names
from talosmake.inventory.nodes import is_plain, patch_with, text_of
from talosmake.patches import layout


def check_together(environment: Environment) -> None:
    """What must hold for the nodes of an environment together."""
    if not environment.control_planes:
        raise InventoryError(
            f"{environment.directory}: has no control plane",
            hint=f"Make a directory for one: "
            f"{environment.directory / Role.CONTROLPLANE.directory / 'cp_1'}, with a node.env.",
        )
    _check_names(environment)
    _check_unique(environment, "address", lambda node: node.address)
    _check_unique(environment, "NODE_MAC", lambda node: node.mac)
    _check_unique(environment, "NODE_UUID", lambda node: node.uuid)
    _check_host_names(environment)
    _check_images(environment)
    if environment.cluster.throwaway:
        _check_loopback(environment)
    if environment.cluster.lab:
        _check_lab(environment)


def _check_names(environment: Environment) -> None:
    """A name means one machine, or all of one environment, where it is to be wiped."""
    whole = {*environment_names(), environment.name, ALL}
    called: dict[str, Node] = {}
    for node in environment.nodes:
        for name in (node.name, node.config_name):
            if name in called:
                raise InventoryError(
                    f"{called[name].directory} and {node.directory} have the same name: node= and "
                    "confirm= could not tell which machine is meant",
                    hint="Rename one of the two directories; NODE_HOSTNAME in its node.env keeps "
                    f"its host name: NODE_HOSTNAME={node.hostname}",
                )
            called[name] = node
        if node.name in whole:
            meant = "all" if node.name == ALL else f"all of the environment {node.name}"
            raise InventoryError(
                f"{node.directory}: confirm={node.name} could mean this node, and {meant}",
                hint="Rename the node's directory; NODE_HOSTNAME in its node.env keeps its host "
                f"name: NODE_HOSTNAME={node.hostname}",
            )


def _check_unique(environment: Environment, what: str, value: Callable[[Node], str]) -> None:
    seen: dict[str, Node] = {}
    for node in environment.nodes:
        this = value(node)
        if this and this in seen:
            raise InventoryError(
                f"{node.directory} and {seen[this].directory} have the same {what}: {this}",
                hint=f"Give each its own, in {node.env_file} or {seen[this].env_file}.",
            )
        seen[this] = node


def _check_host_names(environment: Environment) -> None:
    """One host name is one machine's: without its domain, unless its kubelet says more."""
    _check_unique(environment, "host name", lambda node: node.hostname)
    seen: dict[str, Node] = {}
    for node in environment.nodes:
        other = seen.setdefault(node.short_hostname, node)
        if other is node or _may_share_short_name(environment, node, other):
            continue
        raise InventoryError(
            f"{node.directory} and {other.directory} have host names that begin with the same "
            f"name: {node.hostname} and {other.hostname}. Both would be {node.short_hostname} to "
            "etcd and to Kubernetes",
            hint="Give each its own before the first dot, by NODE_HOSTNAME in "
            f"{node.env_file} or {other.env_file}.\nOn bare metal, workers may share it where "
            f"{layout.REGISTER_WITH_FQDN.label(environment.cluster.contract)} is true in their "
            "patches.",
        )


def _may_share_short_name(environment: Environment, node: Node, other: Node) -> bool:
    """Whether both register with their whole names; etcd, and a network's DNS, know short ones."""
    if Role.WORKER not in (node.role, other.role) or environment.facts.get(machine_facts.URI):
        return False
    return _registers_with_fqdn(node) and _registers_with_fqdn(other)


def _registers_with_fqdn(node: Node) -> bool:
    patches = (
        patch_with(path, text_of(path), node.facts) for path in node.patches if is_plain(path)
    )
    said = [
        value
        for patch in patches
        for value in layout.values(patch.documents, layout.REGISTER_WITH_FQDN)
    ]
    return said[-1:] == ["true"]


def _check_loopback(environment: Environment) -> None:
    """Secrets that are made on the fly must not get to machines other than this one."""
    kind = "LAB" if environment.cluster.lab else "SIMULATED"
    for node in environment.nodes:
        for endpoint in (node.endpoint, node.maintenance_address):
            if not _is_loopback(endpoint):
                raise InventoryError(
                    f"{node.env_file}: {endpoint} is no loopback address, but "
                    f"{environment.env_file} says {kind}=true",
                    hint="Such nodes are reached at 127.x.y.z, and at no other port than Talos's "
                    f"own; for other machines remove {kind}.",
                )


def _check_images(environment: Environment) -> None:
    """The Image Factory makes the images that nodes ask for; each kind is looked at once."""
    seen = set()
    for node in environment.nodes:
        if node.chosen and node.chosen not in seen:
            seen.add(node.chosen)
            name = f"{environment.name}/{node.name}"
            image_facts.check(node.chosen, name, Facts(node.facts, node.env_files))


def _is_loopback(endpoint: str) -> bool:
    """Whether it is a loopback address alone, without a port."""
    try:
        return ipaddress.ip_address(endpoint).is_loopback
    except ValueError:
        return False


def _check_lab(environment: Environment) -> None:
    """QEMU is told each node's MAC and its address in the lab's own network."""
    text = environment.facts.get("NETWORK", "")
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise InventoryError(
            f"{environment.env_file}: NETWORK={text!r} is no IPv4 network",
            hint="A lab needs one for its nodes, which nothing else sees, e.g. NETWORK=10.5.0.0/24",
        ) from None
    for node in environment.nodes:
        if ipaddress.ip_address(node.address) not in network:
            raise InventoryError(
                f"{node.env_file}: NODE_IP {node.address} is not in NETWORK {network} of "
                f"{environment.env_file}",
                hint="NODE_IP is the node's address in the lab's own network, NODE_ENDPOINT the "
                "loopback address by which this machine reaches it.",
            )
        if ":" in node.endpoint:
            raise InventoryError(
                f"{node.env_file}: NODE_ENDPOINT={node.endpoint}: a lab's nodes are reached at "
                "IPv4 addresses",
                hint="Take one that nothing else has, e.g. NODE_ENDPOINT=127.0.20.11",
            )
        if node.chosen and node.chosen.images.arch != factory.AMD64:
            raise InventoryError(
                f"{environment.env_file}: TALOS_ARCH={node.chosen.images.arch} ({node.name}): a "
                "lab's nodes are amd64",
                hint="Remove the line.",
            )
        if not node.mac:
            raise InventoryError(
                f"{node.env_file}: a node of a lab needs NODE_MAC",
                hint="Any that no other node has, e.g. NODE_MAC=52:54:00:05:00:11.",
            )
