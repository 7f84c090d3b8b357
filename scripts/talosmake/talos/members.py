"""Which member of etcd is which node (pure): one member is one node, or nobody says that it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from talosmake.inventory.model import Node
from talosmake.talos.api import Member


class Doubt(Exception):  # noqa: N818 - no error by itself: who asks says what it keeps from
    """Members and nodes cannot be told apart; the text says which."""


@dataclass(frozen=True)
class Plane:
    """A control plane, and what it may be known by.

    :ivar member: the identifier of the member that its own etcd says it is; "" where none does.
    :ivar addresses: all that its config gives it beside the node's own.
    :ivar names: host names, without their domains and in lower case; what is not known is left out.
    """

    node: Node
    member: str = ""
    addresses: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


def owners(members: Sequence[Member], planes: Sequence[Plane]) -> Mapping[str, Node]:
    """The nodes that members are, by the members' identifiers; not in it are members of no node.

    What a node's own etcd says counts most, then its address, then another address that its config
    gives it, then its name. All are looked at together: who is known by something better is not
    looked for by something worse.

    :raises Doubt: where a member may be two nodes, or a node two members.
    """
    _check_words(members, planes)
    found: dict[str, Node] = {}
    for fits in (_by_word, _by_address, _by_other_address, _by_name(planes)):
        taken = {node.config_name for node in found.values()}
        left = [plane for plane in planes if plane.node.config_name not in taken]
        open_ones = [member for member in members if member.identifier not in found]
        found |= _matched(open_ones, left, fits)
    return found


def _check_words(members: Sequence[Member], planes: Sequence[Plane]) -> None:
    """Refuse members that are in no list: an etcd beside the cluster's, or one that changes now."""
    known = {member.identifier for member in members}
    for plane in planes:
        if plane.member and plane.member not in known:
            raise Doubt(
                f"the etcd of {plane.node.name} is the member {plane.member}, which others do not "
                "list"
            )


_Fits = Callable[[Member, Plane], bool]


def _by_word(member: Member, plane: Plane) -> bool:
    return plane.member != "" and plane.member == member.identifier


def _by_address(member: Member, plane: Plane) -> bool:
    return not plane.member and bool(
        _as_addresses(member.addresses) & _as_addresses([plane.node.address])
    )


def _by_other_address(member: Member, plane: Plane) -> bool:
    return not plane.member and bool(
        _as_addresses(member.addresses) & _as_addresses(plane.addresses)
    )


def _by_name(planes: Sequence[Plane]) -> _Fits:
    def fits(member: Member, plane: Plane) -> bool:
        others = [other for other in planes if other is not plane]
        # At another node's address is no member that only has this one's name.
        elsewhere = any(has_address(other, member) for other in others)
        name = member.hostname.lower().partition(".")[0]
        return not plane.member and not elsewhere and name != "" and name in plane.names

    return fits


def has_address(plane: Plane, member: Member) -> bool:
    """Whether a member is at an address of a node."""
    own = _as_addresses([plane.node.address, *plane.addresses])
    return bool(_as_addresses(member.addresses) & own)


def _matched(members: Sequence[Member], planes: Sequence[Plane], fits: _Fits) -> Mapping[str, Node]:
    pairs = [(member, plane) for member in members for plane in planes if fits(member, plane)]
    for member, plane in pairs:
        nodes = [other.node.name for one, other in pairs if one is member]
        if len(nodes) > 1:
            raise Doubt(f"etcd's member {described(member)} may be {' or '.join(nodes)}")
        several = [described(one) for one, other in pairs if other is plane]
        if len(several) > 1:
            raise Doubt(f"{plane.node.name} may be etcd's member {' or '.join(several)}")
    return {member.identifier: plane.node for member, plane in pairs}


def described(member: Member) -> str:
    """A member by all that tells it from others."""
    return f"{member.hostname or 'not started'} ({member.identifier} at {member.address})"


def _as_addresses(texts: Iterable[str]) -> frozenset[str]:
    """Addresses in one form each, as IPv6 is written in several ways; what is none is left out."""
    found = set()
    for text in texts:
        try:
            address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
        except ValueError:
            continue
        found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return frozenset(found)
