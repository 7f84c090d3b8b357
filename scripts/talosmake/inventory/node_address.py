"""The address that a node's own patches give it, where they leave no doubt (pure).

What counts is an address at which the node's Talos API can be reached from elsewhere. A tunnel's or
a dummy link's cannot, nor a link-local one; and beside a link with DHCP nobody knows here which
address others reach.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from talosmake.base.yamls import lookup
from talosmake.patches.patch import Patch

# Documents of links, which have addresses (Talos docs: reference/configuration/network).
_LINKS = (
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "LinkConfig",
    "VLANConfig",
    "VRFConfig",
    "WireguardConfig",
)
_DHCP = ("DHCPv4Config", "DHCPv6Config")
# Why nobody reaches the node by a link, by the kind of its document, or by its name.
_UNREACHABLE = {"DummyLinkConfig": "a dummy link", "WireguardConfig": "a tunnel"}
_NAMES = (
    (re.compile(r"lo(:.*)?"), "the loopback link"),
    (re.compile(r"dummy\d*"), "a dummy link"),
    (re.compile(r"(wg|tun|tap|tailscale|wireguard)\d*|kubespan|siderolink"), "a tunnel"),
)
# Whether a text may say what :func:`found` looks for; to look no closer at others.
_MATTERS = re.compile("dhcp|dummy|wireguard|ignore|LinkConfig", re.IGNORECASE)


@dataclass
class _Link:
    """What the patches say of a link.

    :ivar addresses: each with the kind of document that it stands in.
    :ivar why_not: why nobody reaches the node by it; "" if one may.
    """

    name: str
    addresses: list[tuple[str, str]] = field(default_factory=list)
    dhcp: set[str] = field(default_factory=set)
    why_not: str = ""


@dataclass(frozen=True)
class Found:
    """The addresses that the patches give.

    :ivar addresses: those that count, without prefix lengths: of each link the first, none twice.
    :ivar others: those that do not, each with the reason.
    """

    addresses: tuple[str, ...]
    others: tuple[str, ...]


def may_matter(text: str) -> bool:
    """Whether it is worth while to parse a shared patch for :func:`found`."""
    return bool(_MATTERS.search(text))


def found(own: Sequence[Patch], shared: Sequence[Patch] = ()) -> Found:
    """The static addresses that patches give a node.

    :param own: the node's own patches, in the order they apply; only their addresses count.
    :param shared: those of the layers before, which may say what the links are.
    """
    links: dict[str, _Link] = {}
    for patch in shared:
        _read(links, patch, addresses=False)
    for patch in own:
        _read(links, patch, addresses=True)
    dhcp = [link for link in links.values() if link.dhcp and not link.why_not]
    counting, others = [], []
    for link in links.values():
        beside = next((other for other in dhcp if other is not link), None)
        why_not = link.why_not or (beside and f"beside {beside.name}, which has DHCP") or ""
        first = True
        for address in _addresses(link):
            reason = why_not or (
                "" if _is_reachable(address) else "not to be reached from elsewhere"
            )
            if reason:
                others.append(f"{address} ({link.name}: {reason})")
            elif first:
                counting.append(str(address))
                first = False
    return Found(tuple(dict.fromkeys(counting)), tuple(dict.fromkeys(others)))


def _is_reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not (
        address.is_link_local
        or address.is_loopback
        or address.is_multicast
        or address.is_unspecified
    )


def _addresses(link: _Link) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for _, text in link.addresses:
        try:
            yield ipaddress.ip_interface(text).ip
        except ValueError:
            continue


def _read(links: dict[str, _Link], patch: Patch, *, addresses: bool) -> None:
    """Add what a patch says of links.

    :param addresses: whether those count that it gives them.
    """
    for document in patch.documents:
        kind = str(document.get("kind", ""))
        if kind in _LINKS or kind in _DHCP:
            _read_document(links, kind, document, addresses=addresses)
        for interface in _list(document, "machine", "network", "interfaces"):
            if isinstance(interface, dict):
                _read_interface(links, interface, addresses=addresses)


def _read_document(
    links: dict[str, _Link], kind: str, document: Mapping[str, Any], *, addresses: bool
) -> None:
    link = _link(links, str(document.get("name", "")))
    if document.get("$patch") == "delete":
        link.dhcp.discard(kind)
        link.addresses = [one for one in link.addresses if one[0] != kind]
        return
    if kind in _DHCP:
        link.dhcp.add(kind)
        return
    link.why_not = link.why_not or _UNREACHABLE.get(kind, "")
    if _says(document.get("up"), "false"):
        link.why_not = "it is down"
    if addresses:
        items = (lookup(item, "address") for item in _list(document, "addresses"))
        link.addresses += [(kind, str(item)) for item in items if item]


def _read_interface(
    links: dict[str, _Link], interface: Mapping[str, Any], *, addresses: bool
) -> None:
    """An entry of ``machine.network.interfaces``, with its VLANs."""
    name = str(interface.get("interface") or _selector(interface))
    link = _link(links, name)
    _read_settings(link, interface, addresses=addresses)
    for key, reason in (("dummy", "a dummy link"), ("ignore", "it is ignored")):
        if _says(interface.get(key), "true"):
            link.why_not = reason
    if interface.get("wireguard"):
        link.why_not = "a tunnel"
    for vlan in _list(interface, "vlans"):
        if isinstance(vlan, dict):
            below = _link(links, f"{name}.{vlan.get('vlanId')}")
            _read_settings(below, vlan, addresses=addresses)
            below.why_not = below.why_not or link.why_not


def _read_settings(link: _Link, settings: Mapping[str, Any], *, addresses: bool) -> None:
    if _says(settings.get("dhcp"), "true"):
        link.dhcp.add("")
    elif _says(settings.get("dhcp"), "false"):
        link.dhcp.discard("")
    if addresses:
        texts = [*_list(settings, "addresses"), settings.get("cidr")]
        link.addresses += [("", text) for text in texts if isinstance(text, str) and text]


def _says(value: object, wanted: str) -> bool:
    """Whether a scalar, which is the text as it was written, is this boolean."""
    return isinstance(value, str) and value.lower() == wanted


def _selector(interface: Mapping[str, Any]) -> str:
    selector = interface.get("deviceSelector")
    pairs = selector.items() if isinstance(selector, dict) else ()
    return ", ".join(f"{key} {value}" for key, value in sorted(pairs)) or "?"


def _link(links: dict[str, _Link], name: str) -> _Link:
    if name not in links:
        why_not = next((reason for pattern, reason in _NAMES if pattern.fullmatch(name)), "")
        links[name] = _Link(name, why_not=why_not)
    return links[name]


def _list(content: Any, *keys: str) -> list[Any]:
    value = lookup(content, *keys)
    return value if isinstance(value, list) else []
