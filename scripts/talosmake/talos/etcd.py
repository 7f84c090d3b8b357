"""Etcd of a running cluster: whether it is healthy, and what it can do without.

What it is to be healthy: all its members answer, none is a learner, each has a leader and no alarm.
The arithmetic is etcd's own, see https://etcd.io/docs/latest/faq/#what-is-failure-tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from talosmake.base.errors import NodeError
from talosmake.inventory import node_names
from talosmake.inventory.model import Environment, Node, Role
from talosmake.inventory.removed import removed_nodes
from talosmake.talos import api as talos_api
from talosmake.talos import talosctl
from talosmake.talos.api import Member
from talosmake.talos.members import Doubt, Plane, owners
from talosmake.talos.observe import connection_error, secure_api
from talosmake.talos.talosctl import CallError


def quorum(members: int) -> int:
    """How many of so many voting members must be healthy for etcd to work."""
    return members // 2 + 1


@dataclass(frozen=True)
class Etcd:
    """What was seen of a cluster's etcd.

    :ivar members: as one of the control planes lists them; none where nobody could be asked.
    :ivar trouble: why a member is not healthy, by its identifier; not in it are healthy ones.
    :ivar silence: why no control plane lists members, where none does.
    :ivar owners: the nodes that members are, by identifier; not in it are members of no node.
    :ivar doubt: why members and nodes cannot be told apart, where they cannot.
    """

    members: tuple[Member, ...] = ()
    trouble: Mapping[str, str] = field(default_factory=dict)
    silence: str = ""
    owners: Mapping[str, Node] = field(default_factory=dict)
    doubt: str = ""

    @cached_property
    def voters(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.learner)

    def healthy(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        """Those of the members that are healthy."""
        return tuple(member for member in members if member.identifier not in self.trouble)

    def member(self, node: Node) -> Member | None:
        """The member that a control plane is, if it is one.

        :raises NodeError: where it is not clear which one.
        """
        if self.doubt:
            raise NodeError(
                f"it is not clear which member of etcd {node.name} is: {self.doubt}",
                hint="Compare 'talosctl etcd members' and 'talosctl etcd status' of each control "
                "plane with NODE_IP in Git. A member that is gone for good leaves with 'talosctl "
                "etcd remove-member' (docs/day-2.md).",
            )
        return next((member for member in self.members if self._is(member, node)), None)

    def _is(self, member: Member, node: Node) -> bool:
        owner = self.owners.get(member.identifier)
        return owner is not None and owner.config_name == node.config_name

    @property
    def strangers(self) -> tuple[Member, ...]:
        """Members that do not answer, and of which nobody knows which node they are."""
        return tuple(
            member
            for member in self.members
            if member.identifier in self.trouble and member.identifier not in self.owners
        )

    def unhealthy(self, besides: Node | None = None) -> str:
        """Why etcd is not healthy, a member left out; "" if it is."""
        if self.silence or self.doubt:
            return self.silence or self.doubt
        return "; ".join(
            f"{_name(member)}: {self.trouble[member.identifier]}"
            for member in self.members
            if member.identifier in self.trouble and not (besides and self._is(member, besides))
        )

    def absence(self, planes: Iterable[Node], rebooting: Node) -> str:
        """Why a member had better not reboot yet: others would be too few, as some have to join.

        :param planes: the control planes that are to be members.
        """
        left = [member for member in self.healthy(self.voters) if not self._is(member, rebooting)]
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


def observe(environment: Environment) -> Etcd:
    """Ask the control planes, and all members that they list. Nothing is changed.

    Nodes that were removed from Git are asked, too, where a member is none of those in Git.
    """
    words = {node.config_name: _word(environment, node) for node in environment.control_planes}
    members, silence = _listed(environment, words)
    if silence:
        return Etcd(silence=f"no control plane lists etcd's members: {silence}")
    nodes = list(environment.control_planes)
    try:
        owners = _owners(environment, members, nodes, words)
        if len(owners) < len(members):
            removed = [n for n in removed_nodes(environment) if n.role is Role.CONTROLPLANE]
            words |= {node.config_name: _word(environment, node) for node in removed}
            owners = _owners(environment, members, [*nodes, *removed], words)
    except Doubt as doubt:
        return Etcd(members, {each.identifier: str(doubt) for each in members}, doubt=str(doubt))
    trouble = {
        member.identifier: _trouble(environment, member, owners.get(member.identifier), words)
        for member in members
    }
    return Etcd(members, {one: why for one, why in trouble.items() if why}, owners=owners)


@dataclass(frozen=True)
class _Word:
    """What a control plane says of its own etcd.

    :ivar member: the identifier of the member that it is; "" where it says nothing.
    :ivar trouble: what it complains of, or why it says nothing; "" if it is healthy.
    """

    member: str = ""
    trouble: str = ""


def _word(environment: Environment, node: Node) -> _Word:
    try:
        status = _api(environment, node.address, node.endpoint).etcd_status()
    except CallError as error:
        return _Word(trouble=error.in_short)
    return _Word(status.member, status.trouble)


def _listed(environment: Environment, words: Mapping[str, _Word]) -> tuple[tuple[Member, ...], str]:
    """The members by the first control plane that lists them, or why none does."""
    silence = []
    for node in environment.control_planes:
        word = words[node.config_name]
        why = word.trouble
        if word.member:
            try:
                return tuple(secure_api(environment, node).etcd_members()), ""
            except CallError as error:
                why = error.in_short
        silence.append(f"{node.name}: {why}")
    return (), "; ".join(silence)


def _owners(
    environment: Environment,
    members: Sequence[Member],
    nodes: Sequence[Node],
    words: Mapping[str, _Word],
) -> Mapping[str, Node]:
    return owners(
        members, [plane(environment, node, words[node.config_name].member) for node in nodes]
    )


def plane(environment: Environment, node: Node, member: str = "") -> Plane:
    """A control plane with all that is known of it: by itself, its config, and what it was sent.

    :param member: the identifier of the member that it says it is; "" where it does not say.
    """
    names = (node_names.of_node(environment, node), node_names.recorded(environment, node))
    return Plane(
        node,
        member,
        node_names.static_addresses(environment, node),
        frozenset(name.hostname for name in names if name.hostname),
    )


def _trouble(
    environment: Environment, member: Member, node: Node | None, words: Mapping[str, _Word]
) -> str:
    """Why a member is not healthy; whoever else answers at its address does not speak for it."""
    if node is not None:
        return words[node.config_name].trouble
    if not member.address:
        return "it has no address"
    try:
        status = _api(environment, member.address, member.address).etcd_status()
    except CallError as error:
        return error.in_short
    if status.member != member.identifier:
        return f"what answers at {member.address} is another member, {status.member}"
    return status.trouble


def _api(environment: Environment, address: str, endpoint: str) -> talos_api.NodeApi:
    """The API of a node with etcd; refused at once where nothing answers, or no etcd runs."""
    refused = connection_error(endpoint)
    if refused:
        raise CallError(talosctl.Failure.UNREACHABLE, refused)
    api = talos_api.NodeApi(
        address,
        endpoint,
        environment.paths.talosconfig,
        environment.options.call_timeout,
        environment.cluster.talosctl,
    )
    # Without an etcd that runs, a node leaves all other questions without an answer.
    state = api.etcd_state()
    if state != "Running":
        raise CallError(talosctl.Failure.OTHER, f"its etcd is {state or 'not known'}")
    return api


# Etcd service states that do not yet have data: Talos's service states before Running.
WITHOUT_ETCD = ("", "Initialized", "Preparing", "Waiting", "Pre", "Starting", "Skipped")
