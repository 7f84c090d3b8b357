"""Whether a control plane may leave etcd, and taking one out that was wiped without leaving it."""

from __future__ import annotations

from collections.abc import Sequence

from talosmake.base.errors import NodeError
from talosmake.base.progress import say
from talosmake.base.wait import Wait
from talosmake.inventory.model import Environment, Node
from talosmake.talos import etcd
from talosmake.talos.api import Member
from talosmake.talos.etcd import WITHOUT_ETCD
from talosmake.talos.members import described, has_address
from talosmake.talos.observe import State, judged, observe, secure_api
from talosmake.talos.talosctl import CallError


def may_leave(environment: Environment, node: Node) -> str:
    """What a control plane's leaving means for etcd.

    :raises NodeError: when etcd would lose its quorum, or cannot be asked.
    """
    seen = etcd.observe(environment)
    who = f"{environment.name}/{node.name}"
    if seen.silence:
        if not environment.paths.bootstrapped.exists() and _is_without_etcd(environment, node):
            return "no etcd runs on it"
        raise NodeError(
            f"{who}: not reset, because nobody can say what etcd would be without it: "
            f"{seen.silence}",
            hint=_whole(environment),
        )
    member = _member(environment, seen, node)
    if member is None:
        return "it is no member of etcd"
    refusal = seen.refusal(member)
    if refusal:
        raise NodeError(
            f"{who}: not reset, because etcd would lose its quorum: {refusal}",
            hint=f"Fix the other members first. {_whole(environment)}",
        )
    return seen.arithmetic(member)


def _member(environment: Environment, seen: etcd.Etcd, node: Node) -> Member | None:
    """The member of etcd that a node is; None where it is known to be none.

    :raises NodeError: where nobody can tell.
    """
    try:
        member = seen.member(node)
    except NodeError as error:
        raise NodeError(
            f"{environment.name}/{node.name}: {error.message}", hint=error.hint
        ) from None
    if member is None and seen.strangers:
        listed = ", ".join(
            f"{described(one)}: {seen.trouble[one.identifier]}" for one in seen.strangers
        )
        raise NodeError(
            f"{environment.name}/{node.name}: it is not clear whether it is a member of etcd: "
            f"there are members that are no node's by name or address, and do not answer: {listed}",
            hint="A member that is gone for good leaves with 'talosctl etcd remove-member "
            f"{seen.strangers[0].identifier}' at a control plane that is healthy (docs/day-2.md); "
            "then run the same command again.",
        )
    return member


def _whole(environment: Environment) -> str:
    return (
        "To give up the cluster with all its data, reset the whole environment: snakemake reset "
        f"--config env={environment.name} confirm={environment.name}"
    )


def _is_without_etcd(environment: Environment, node: Node) -> bool:
    return secure_api(environment, node).etcd_state() in WITHOUT_ETCD


def can_leave(environment: Environment, node: Node) -> bool:
    """Whether etcd can let a control plane go; the last member of all cannot leave."""
    seen = etcd.observe(environment)
    if seen.silence or seen.doubt:
        return False
    member = seen.member(node)
    return member is None or not seen.refusal(member)


def forget_member(environment: Environment, node: Node) -> None:
    """Take a node out of etcd that was wiped without leaving it.

    :raises NodeError: when that needs a person's eye, or nobody can say whether it is a member.
    """
    others = [other for other in environment.control_planes if other != node]
    if _no_etcd_is_left(environment, others):
        return
    seen = _etcd_of_others(environment, node)
    member = _member(environment, seen, node)
    if member is None:
        return
    by_hand = (
        f"{environment.name}/{node.name}: is in maintenance mode, but etcd still lists it as the "
        f"member {member.identifier} at {member.address}"
    )
    if not has_address(etcd.plane(environment, node), member):
        raise NodeError(
            f"{by_hand}, which is another address than its own {node.address}; left as it is",
            hint="Find out who has that address. A member that is gone for good leaves with "
            f"'talosctl etcd remove-member {member.identifier}' at another control plane.",
        )
    refusal = seen.refusal(member)
    if refusal:
        raise NodeError(f"{by_hand}; it is not removed: {refusal}", hint=_whole(environment))
    for other in others:
        try:
            secure_api(environment, other).etcd_remove_member(member)
        except CallError as error:
            if other is others[-1]:
                raise judged(environment, other, error) from None
        else:
            say(f"{environment.name}/{node.name}: was wiped without leaving etcd; removed from it")
            return


def _no_etcd_is_left(environment: Environment, others: Sequence[Node]) -> bool:
    """Whether all other control planes say that they have none; a silent one may have one."""
    return all(_has_none(environment, other) for other in others)


def _has_none(environment: Environment, other: Node) -> bool:
    live = observe(environment, other)
    if live.state is State.MAINTENANCE:
        return True
    # Where the cluster was bootstrapped, a node without a running etcd may only be starting.
    if live.state is not State.RUNNING or environment.paths.bootstrapped.exists():
        return False
    try:
        return _is_without_etcd(environment, other)
    except CallError:
        return False


def _etcd_of_others(environment: Environment, node: Node) -> etcd.Etcd:
    """What the other control planes know of etcd, asked until one answers."""
    wait = Wait(
        f"{environment.name}/{node.name}",
        "a control plane to say whether etcd still lists it as a member",
        environment.options.etcd_timeout,
        hint="It is in maintenance mode. When a control plane answers, run the same command again: "
        "a member that is gone is to leave etcd.",
    )
    for attempt in wait:
        seen = etcd.observe(environment)
        if not seen.silence:
            return seen
        attempt.because(seen.silence)
    raise AssertionError("the loop returns or raises")
