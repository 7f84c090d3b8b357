"""Etcd of a running cluster: whether it is healthy, and what it can do without.

What it is to be healthy: all its members answer, none is a learner, each has a leader and no alarm.
The arithmetic is etcd's own, see https://etcd.io/docs/latest/faq/#what-is-failure-tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from scripts import talosctl
from scripts.live import connection_error
from scripts.model import Environment, Node
from scripts.talosctl import CallError, Member


def quorum(members: int) -> int:
    """How many of so many voting members must be healthy for etcd to work."""
    return members // 2 + 1


@dataclass(frozen=True)
class Etcd:
    """What was seen of a cluster's etcd.

    :ivar members: as one of the control planes lists them; none where nobody could be asked.
    :ivar trouble: why a member is not healthy, by its identifier; not in it are healthy ones.
    :ivar silence: why no control plane lists members, where none does.
    """

    members: tuple[Member, ...] = ()
    trouble: Mapping[str, str] = field(default_factory=dict)
    silence: str = ""

    @cached_property
    def voters(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.learner)

    def healthy(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        """Those of the members that are healthy."""
        return tuple(member for member in members if member.identifier not in self.trouble)

    def member(self, node: Node) -> Member | None:
        """The member that a control plane is, if it is one."""
        return next((member for member in self.members if is_of(member, node)), None)

    def unhealthy(self, besides: Node | None = None) -> str:
        """Why etcd is not healthy, a member left out; "" if it is."""
        if self.silence:
            return self.silence
        return "; ".join(
            f"{_name(member)}: {self.trouble[member.identifier]}"
            for member in self.members
            if member.identifier in self.trouble and not (besides and is_of(member, besides))
        )

    def absence(self, planes: Iterable[Node], rebooting: Node) -> str:
        """Why a member had better not reboot yet: others would be too few, as some have to join.

        :param planes: the control planes that are to be members.
        """
        left = [member for member in self.healthy(self.voters) if not is_of(member, rebooting)]
        absent = [node.name for node in planes if self.member(node) not in self.voters]
        if not absent or len(left) >= quorum(len(self.voters)):
            return ""
        return (
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not in etcd yet, which has "
            f"{len(self.voters)} voting members: without {rebooting.name} it would have no quorum"
        )

    def refusal(self, leaving: Member) -> str:
        """Why a member may not leave, with the arithmetic; "" if etcd keeps its quorum."""
        if leaving.learner:
            return ""
        left = tuple(member for member in self.voters if member != leaving)
        healthy = self.healthy(self.voters)
        if not left:
            return f"{_name(leaving)} is etcd's only member: without it nothing is left"
        if len(healthy) < quorum(len(self.voters)):
            return (
                f"{self._counted()}; to let one go, {quorum(len(self.voters))} of "
                f"{len(self.voters)} must be healthy"
            )
        if len(self.healthy(left)) < quorum(len(left)):
            return (
                f"{self._counted()}. Without {_name(leaving)} it would have {len(left)}, of which "
                f"{quorum(len(left))} must be healthy, and only {len(self.healthy(left))} would be"
            )
        return ""

    def arithmetic(self, leaving: Member) -> str:
        """What a member's leaving means, in numbers."""
        left = tuple(member for member in self.voters if member != leaving)
        healthy = len(self.healthy(left))
        spare = healthy - quorum(len(left))
        return (
            f"{self._counted()}. Without {_name(leaving)} it has {len(left)}, of which "
            f"{quorum(len(left))} must be healthy; {healthy} would be: "
            + (f"{spare} more may fail" if spare > 0 else "not one more may fail")
        )

    def _counted(self) -> str:
        healthy = len(self.healthy(self.voters))
        bad = self.unhealthy()
        return (
            f"etcd has {len(self.voters)} voting members, {healthy} of them healthy"
            f"{f' ({bad})' if bad else ''}"
        )


def _name(member: Member) -> str:
    return member.hostname or f"{member.identifier} (not started)"


def is_of(member: Member, node: Node) -> bool:
    """Whether a member is this control plane; etcd may advertise another of its addresses."""
    return member.hostname == node.short_hostname or member.address == node.address


def observe(environment: Environment) -> Etcd:
    """Ask the control planes, and all members that they list. Nothing is changed."""
    silence = []
    for node in environment.control_planes:
        try:
            members = tuple(_api(environment, node.address).etcd_members())
        except CallError as error:
            silence.append(f"{node.name}: {error.in_short}")
            continue
        trouble = {member.identifier: _trouble(environment, member) for member in members}
        return Etcd(members, {identifier: why for identifier, why in trouble.items() if why})
    return Etcd(silence=f"no control plane lists etcd's members: {'; '.join(silence)}")


def _trouble(environment: Environment, member: Member) -> str:
    nodes = (node.address for node in environment.control_planes if is_of(member, node))
    try:
        return _api(environment, next(nodes, member.address)).etcd_trouble()
    except CallError as error:
        return error.in_short


def _api(environment: Environment, address: str) -> talosctl.Node:
    """The API of a node with etcd; refused at once where nothing answers, or no etcd runs."""
    nodes = (node.endpoint for node in environment.nodes if node.address == address)
    endpoint = next(nodes, address)
    refused = connection_error(endpoint)
    if refused:
        raise CallError(talosctl.Failure.UNREACHABLE, refused)
    api = talosctl.Node(
        address, endpoint, environment.paths.talosconfig, environment.settings.call_timeout
    )
    # Without an etcd that runs, a node leaves all other questions without an answer.
    state = api.etcd_state()
    if state != "Running":
        raise CallError(talosctl.Failure.OTHER, f"its etcd is {state or 'not known'}")
    return api
