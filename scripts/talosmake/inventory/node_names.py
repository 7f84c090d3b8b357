"""The names that nodes have by what they get: their machine configs, not their directories.

A patch may set the host name, and then NODE_HOSTNAME means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from talosmake.base import marker
from talosmake.base.errors import InventoryError
from talosmake.base.yamls import lookup
from talosmake.inventory import endpoints
from talosmake.inventory.model import Environment, Node, Role
from talosmake.patches import layout

_T = TypeVar("_T")
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# Configs of thousands of nodes are looked at, and YAML is slow: most documents name nothing.
_SEPARATOR = re.compile(rb"^---(?=\s)", re.MULTILINE)
_NAMES = re.compile(rb"hostname[\"']?\s*:|registerWithFQDN")
_LONGEST = 63


@dataclass(frozen=True)
class Name:
    """What a node is called.

    :ivar hostname: without its domain, in lower case; its name to etcd. "" where Talos makes one up
        (``auto: stable``), or takes none.
    :ivar nodename: its name to Kubernetes; "" where nobody can tell.
    """

    hostname: str = ""
    nodename: str = ""


def of_config(config: bytes) -> Name:
    """The name that a machine config gives; empty where it gives none, or is no YAML.

    What Talos makes of it: machinery v1.13, resources/network/hostname_spec.go: ParseFQDN.
    """
    full, registers_in_full = "", False
    for document in _documents(config):
        named = layout.value([document], layout.HOSTNAME)
        full = str(named).lower() if named else full
        whole = layout.value([document], layout.REGISTER_WITH_FQDN)
        registers_in_full |= str(whole).lower() == "true"
    short = endpoints.short_name(full)
    if not short or len(short) > _LONGEST:
        return Name()
    return Name(short, _nodename(full if registers_in_full else short))


def _documents(config: bytes) -> Iterator[Any]:
    for text in _SEPARATOR.split(config):
        if _NAMES.search(text):
            try:
                yield from yaml.load_all(text, Loader=_Loader)
            except yaml.YAMLError:
                continue


def _nodename(name: str) -> str:
    """Talos v1.13: controllers/k8s/internal/nodename/nodename.go, FromHostname."""
    return re.sub(r"[^a-z0-9.-]", "", name.replace("_", "-")).strip("-.")


def of_node(environment: Environment, node: Node) -> Name:
    """The name by a node's rendered config; empty where none is rendered."""
    return _cached(_name_in, environment.paths.config(node), Name())


def recorded(environment: Environment, node: Node) -> Name:
    """The name by the config that a node was sent last; empty where nobody knows."""
    said = marker.read(environment.paths.machine_of(node))
    # Without a nodename the record is an older one, whose host name was the directory's.
    if "nodename" not in said:
        return Name()
    return Name(str(said.get("hostname", "")), str(said["nodename"]))


def static_addresses(environment: Environment, node: Node) -> frozenset[str]:
    """The addresses that a node's rendered config gives its links, without prefix lengths."""
    return _cached(_addresses_in, environment.paths.config(node), frozenset())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# --- nobody has another's name --------------------------------------------------------------------


def check(environment: Environment, configs: Mapping[str, bytes]) -> None:
    """Refuse configs by which two nodes have one name.

    :param configs: by the names of their files, without endings.
    :raises InventoryError: with the nodes, the name, and where it is set.
    """
    _check(environment, {node: of_config(configs[node.config_name]) for node in environment.nodes})


def check_rendered(environment: Environment, nodes: Sequence[Node]) -> None:
    """Refuse rendered configs by which two of these nodes have one name.

    :raises InventoryError: with the nodes, the name, and where it is set.
    """
    _check(environment, {node: of_node(environment, node) for node in nodes})


def _check(environment: Environment, names: Mapping[Node, Name]) -> None:
    etcd: dict[str, list[Node]] = {}
    kubernetes: dict[str, list[Node]] = {}
    for node, name in names.items():
        if name.hostname and node.role is Role.CONTROLPLANE:
            etcd.setdefault(name.hostname, []).append(node)
        if name.nodename:
            kubernetes.setdefault(name.nodename, []).append(node)
    for shared, same in (*etcd.items(), *kubernetes.items()):
        if len(same) > 1:
            raise _refused(environment, shared, same)


def _refused(environment: Environment, name: str, nodes: Sequence[Node]) -> InventoryError:
    first, *_, last = nodes
    planes = [node for node in nodes if node.role is Role.CONTROLPLANE]
    why = (
        "A control plane that joins throws the etcd member with its name out of etcd."
        if len(planes) > 1
        else "Two nodes with one name are one node to Kubernetes."
    )
    called = ", ".join(node.name for node in nodes[:-1])
    lines = "".join(f"\n  {node.name}: {_where(environment, node)}" for node in (first, last))
    return InventoryError(
        f"{environment.name}: {called} and {last.name} have the same host name by their machine "
        f"configs: {name}{lines}",
        hint=f"{why} Give each node a name of its own: remove it from the shared patch "
        "(HostnameConfig, machine.network.hostname),\nor write ${NODE_HOSTNAME} there. Nothing was "
        "sent.",
    )


def _where(environment: Environment, node: Node) -> str:
    """The patch that sets a node's host name, as far as plain files tell; else its config."""
    for path in reversed(() if environment.artifact else node.patches):
        if path.name.endswith(".sops.yaml"):
            continue
        for document in _documents(_read(path)):
            if layout.value([document], layout.HOSTNAME):
                return f"set in {path}"
    return str(environment.paths.config(node))


def _cached(look: Callable[[Path, int, int], _T], path: Path, absent: _T) -> _T:
    try:
        status = path.stat()
    except OSError:
        return absent
    return look(path.absolute(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16384)
def _name_in(path: Path, _size: int, _time: int) -> Name:
    return of_config(_read(path))


@lru_cache(maxsize=64)
def _addresses_in(path: Path, _size: int, _time: int) -> frozenset[str]:
    try:
        documents = list(yaml.load_all(_read(path), Loader=_Loader))
    except yaml.YAMLError:
        return frozenset()
    return frozenset(text.partition("/")[0] for text in _addresses_of_links(documents))


def _addresses_of_links(documents: Sequence[Any]) -> Iterator[str]:
    """Links are documents of their own, or stand in ``machine.network.interfaces``."""
    links = [document for document in documents if lookup(document, "kind")]
    for document in documents:
        for interface in lookup(document, "machine", "network", "interfaces") or ():
            links += [interface, *(lookup(interface, "vlans") or ())]
    for link in links:
        given = lookup(link, "addresses")
        for entry in given if isinstance(given, list) else ():
            yield str(lookup(entry, "address") or entry)
