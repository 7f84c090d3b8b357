"""Lint rules about a node's addresses and the cluster's networks (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any

from talosmake.base.yamls import lookup
from talosmake.checks.finding import Entry, Finding, NodeView
from talosmake.inventory import canonical
from talosmake.inventory.model import Role
from talosmake.patches import layout
from talosmake.patches.positions import Keys

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What `talosctl gen config` gives a cluster whose patches say nothing.
DEFAULT_SUBNETS = {
    layout.POD_SUBNETS: "10.244.0.0/16",
    layout.SERVICE_SUBNETS: "10.96.0.0/12",
}
_WHAT = {layout.POD_SUBNETS: "pods", layout.SERVICE_SUBNETS: "services"}
# Links that lead out of the machine, unlike VLANs and tunnels on top of them; "" is
# `machine.network.interfaces`.
_CARDS = ("", "LinkConfig", "BondConfig", "BridgeConfig")
_VIP_KINDS = ("Layer2VIPConfig", "HCloudVIPConfig")


@dataclass(frozen=True)
class Place:
    """A value and where it is written."""

    text: str
    entry: Entry
    keys: Keys

    @property
    def shown(self) -> str:
        return self.of(self.text)

    def of(self, value: object) -> str:
        """What comes of the value, for a message."""
        return self.entry.shown(self.keys, value)

    @property
    def where(self) -> str:
        return self.entry.where(*self.keys)

    @property
    def label(self) -> str:
        """The key, or the kind of a document that has the value as its name."""
        return self.entry.identity[0] if self.keys == ("name",) else self.entry.label(self.keys)


def static_addresses(view: NodeView) -> list[Place]:
    """The addresses with prefix lengths that the patches give the node's links."""
    return [place for entry in view.entries for place in _addresses(entry)]


def _addresses(entry: Entry) -> Iterator[Place]:
    if "kind" in entry.content:
        for index, item in enumerate(_list(entry.content, "addresses")):
            if text := lookup(item, "address"):
                yield Place(str(text), entry, ("addresses", index, "address"))
        return
    for keys, link in _interfaces(entry):
        for index, text in enumerate(_list(link, "addresses")):
            yield Place(str(text), entry, (*keys, "addresses", index))


def _interfaces(entry: Entry) -> Iterator[tuple[Keys, Any]]:
    """The entries of ``machine.network.interfaces`` and their VLANs."""
    for index, interface in enumerate(_list(entry.content, "machine", "network", "interfaces")):
        keys: Keys = ("machine", "network", "interfaces", index)
        yield keys, interface
        for number, vlan in enumerate(_list(interface, "vlans")):
            yield (*keys, "vlans", number), vlan


def _list(content: Any, *keys: str) -> list[Any]:
    value = lookup(content, *keys)
    return value if isinstance(value, list) else []


def vips(view: NodeView) -> list[Place]:
    """The virtual addresses that the node shares with others."""
    found = []
    for entry in view.entries:
        kind, name = entry.identity
        if kind in _VIP_KINDS:
            found.append(Place(name, entry, ("name",)))
        for keys, link in _interfaces(entry):
            if ip := lookup(link, "vip", "ip"):
                found.append(Place(str(ip), entry, (*keys, "vip", "ip")))
    return found


def _gateways(view: NodeView) -> Iterator[Place]:
    for entry in view.entries:
        for index, route in enumerate(_list(entry.content, "routes")):
            if text := lookup(route, "gateway"):
                yield Place(str(text), entry, ("routes", index, "gateway"))
        for keys, link in _interfaces(entry):
            for index, route in enumerate(_list(link, "routes")):
                if text := lookup(route, "gateway"):
                    yield Place(str(text), entry, (*keys, "routes", index, "gateway"))


def address_of(text: str) -> Address | None:
    """An address, with or without a prefix length; None where the text is none."""
    try:
        return ipaddress.ip_interface(text).ip
    except ValueError:
        return None


def _interface(text: str) -> IPv4Interface | IPv6Interface | None:
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


# A network, and the static address that defines it.
_Defined = tuple[Network, Place]


def networks(view: NodeView) -> list[_Defined]:
    """The networks that the static addresses are in; an address alone (/32) makes none."""
    found = []
    for place in static_addresses(view):
        interface = _interface(place.text)
        if interface and "/" in place.text and interface.network.num_addresses > 1:
            found.append((interface.network, place))
    return found


def subnet(view: NodeView) -> Iterator[Finding]:
    """A pod or service subnet is no CIDR, or there is more than one of a family."""
    for entry in view.entries:
        for setting, default in DEFAULT_SUBNETS.items():
            keys, items = _written(entry, setting)
            families = []
            for index, item in enumerate(items):
                problem = _no_subnet(str(item))
                if problem:
                    yield Finding(
                        entry.where(*keys, index),
                        f"{entry.label(keys)}: {entry.shown(keys, f'{item} {problem}')}",
                        f"Write the network's first address and its prefix length, e.g. {default}",
                    )
                elif (network := _network(str(item))) is not None:
                    families.append(network.version)
            if len(families) > len(set(families)):
                yield Finding(
                    entry.where(*keys),
                    f"{entry.label(keys)}: has more than one subnet of a family; Kubernetes takes "
                    "one for IPv4 and one for IPv6",
                    "Keep one of each.",
                )


def _written(entry: Entry, setting: layout.Setting) -> tuple[Keys, list[Any]]:
    """The way to a list in a document, and its items; none where the document has none."""
    lists = (one for one in layout.found(entry.content, setting) if isinstance(one[1], list))
    return next(lists, ((), []))


def _no_subnet(text: str) -> str:
    network = _network(text)
    if network is None or "/" not in text:
        return "is no subnet"
    if str(network.network_address) != str(address_of(text)):
        return f"is an address in {network}, not the network itself"
    return ""


def cluster_subnets(view: NodeView) -> Iterator[tuple[str, Network, Place | None]]:
    """What pods and services have their addresses from: the last that is written, else Talos's.

    Later layers replace these two lists (Talos docs: Configuration Patches).
    """
    for setting, default in DEFAULT_SUBNETS.items():
        texts: list[tuple[str, Place | None]] = [(default, None)]
        for entry in view.entries:
            keys, written = _written(entry, setting)
            if written:
                texts = [
                    (str(text), Place(str(text), entry, (*keys, index)))
                    for index, text in enumerate(written)
                ]
        for text, place in texts:
            if "/" in text and (network := _network(text)) is not None:
                yield _WHAT[setting], network, place


def subnet_overlap(view: NodeView) -> Iterator[Finding]:
    """The subnets of pods, services and nodes overlap."""
    node_file = f"{view.node.env_file if view.node.env_file.exists() else view.node.directory}"
    ours: list[tuple[str, Network, str]] = []
    for what, network, place in cluster_subnets(view):
        said = place.of(network) if place else f"{network}, Talos's default"
        ours.append((f"{what} have {said}", network, place.where if place else ""))
    theirs = [
        (f"nodes are in {place.of(network)}", network, place.where)
        for network, place in networks(view)
    ]
    address = address_of(view.node.address)
    if address is not None and not any(address in network for _, network, _ in theirs):
        alone = ipaddress.ip_network(address)
        theirs.append(("nodes have addresses in it", alone, node_file))
    pairs = [(one, other) for number, one in enumerate(ours) for other in ours[number + 1 :]]
    pairs += [(one, other) for one in ours for other in theirs]
    for (said, network, where), (other_said, other, other_where) in pairs:
        if network.version == other.version and network.overlaps(other):
            yield Finding(
                where or other_where,
                f"{said}, and {other_said}: they overlap",
                f"Give each a range of its own: {_subnets(view)} in "
                f"{view.environment.directory / 'common.yaml'}, for all nodes alike.",
            )


def _subnets(view: NodeView) -> str:
    return f"{layout.POD_SUBNETS.label(view.environment.cluster.contract)} and serviceSubnets"


def address_outside(view: NodeView) -> Iterator[Finding]:
    """The node's address, a gateway or a VIP is in none of the networks that its patches define."""
    defined = networks(view) if _all_known(view) else []
    address = address_of(view.node.address)
    if address is not None:
        yield from _node_outside(view, address, defined)
    for place in [*_gateways(view), *_vips_on_links(view)]:
        this = address_of(place.text)
        near = [one for one in defined if this and one[0].version == this.version]
        if this is None or this.is_link_local or not near or _in_any(this, near):
            continue
        yield Finding(
            place.where,
            f"{place.label}: {place.shown} is in none of the networks of the node's static "
            f"addresses: {_listed(near)}",
            "Correct the address, or the prefix length of the static address.",
        )


def _all_known(view: NodeView) -> bool:
    """Whether the static addresses tell of all networks that the node is in.

    They do not where DHCP gives it addresses, which is what links without any settings have, nor
    where one is an address alone (/32), whose gateway may be anywhere.
    """
    dhcp = any(
        entry.identity[0].startswith("DHCP")
        or any(lookup(link, "dhcp") == "true" for _, link in _interfaces(entry))
        for entry in view.entries
    )
    places = static_addresses(view)
    on_a_card = any(
        place.entry.identity[0] in _CARDS and "vlans" not in place.keys for place in places
    )
    return on_a_card and not dhcp and len(networks(view)) == len(places)


def _vips_on_links(view: NodeView) -> list[Place]:
    """VIPs that control planes announce themselves; a provider's lead there from anywhere."""
    return [
        place
        for place in vips(view)
        if place.entry.identity[0] == "Layer2VIPConfig"
        or any(
            lookup(link, "vip", "ip") == place.text and set(link["vip"]) == {"ip"}
            for _, link in _interfaces(place.entry)
        )
    ]


def _node_outside(view: NodeView, address: Address, defined: list[_Defined]) -> Iterator[Finding]:
    where = view.node.env_file if view.node.env_file.exists() else view.node.directory
    given = [address_of(place.text) for place in static_addresses(view)]
    near = [one for one in defined if one[0].version == address.version]
    if near and address not in given and not _in_any(address, near):
        yield Finding(
            str(where),
            f"NODE_IP={address} is in none of the networks of the node's static addresses: "
            f"{_listed(near)}",
            "Correct NODE_IP, or write ${NODE_IP} in the patch.",
        )
    if not defined:
        return  # it may have more addresses than are known here
    own = [address, *(one for one in given if one is not None)]
    for entry, keys, texts in _subnets_for_node(view):
        allowed = [_network(text) for text in texts if not text.startswith("!")]
        valid = [one for one in allowed if one is not None and one.version == address.version]
        if valid and not any(one in network for one in own for network in valid):
            yield Finding(
                entry.where(*keys),
                f"{entry.label(keys)}: none of the node's addresses is in "
                f"{entry.shown(keys, ', '.join(map(str, valid)))}",
                "Correct the subnets, or the node's NODE_IP and static addresses.",
            )


def _subnets_for_node(view: NodeView) -> Iterator[tuple[Entry, Keys, list[str]]]:
    settings = [layout.NODE_IP_SUBNETS]
    if view.node.role is Role.CONTROLPLANE:
        settings.append(layout.ETCD_SUBNETS)
    for setting in settings:
        # Layers add to these lists, so one that fits is enough.
        written = [(entry, *_written(entry, setting)) for entry in view.entries]
        texts = [str(text) for _, _, items in written for text in items]
        last = next(((entry, keys) for entry, keys, items in reversed(written) if items), None)
        if last is not None:
            yield *last, texts


def _in_any(address: Address, found: list[_Defined]) -> bool:
    return any(address in network for network, _ in found)


def _listed(found: list[_Defined]) -> str:
    return ", ".join(dict.fromkeys(place.of(network) for network, place in found))


def node_endpoint(view: NodeView) -> Iterator[Finding]:
    """The address where talosctl connects to the node is not in the node's own certificate."""
    node = view.node
    named = [str(name) for entry in view.entries for name in _written(entry, layout.CERT_SANS)[1]]
    host = node.endpoint_host
    if host != node.address and not any(serves(name, host) for name in named):
        yield Finding(
            str(node.env_file),
            f"NODE_ENDPOINT={node.endpoint}: {host} is not in the node's machine.certSANs, so "
            "talosctl would refuse its certificate",
            "Write ${NODE_ENDPOINT_HOST} into machine.certSANs of a patch that the node has, "
            "unless the address is one of its own.",
        )


def serves(name: str, host: str) -> bool:
    """Whether a certificate with a subject alternative name is one for a host.

    A wildcard stands for one label (RFC 6125, 6.4.3; Go's crypto/x509: matchHostnames).

    :param name: an address or a DNS name, which may be ``*.DOMAIN``.
    :param host: an address or a DNS name.
    """
    if (address := address_of(host)) is not None:
        return address == address_of(name)
    pattern, wanted = canonical.name(name), canonical.name(host)
    if pattern.startswith("*."):
        first, dot, domain = wanted.partition(".")
        return bool(first and dot) and domain == pattern[2:]
    return pattern == wanted
