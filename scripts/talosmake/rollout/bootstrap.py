"""Bootstrapping etcd exactly once, and fetching the kubeconfig."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from talosmake.base import marker
from talosmake.base.errors import NodeError
from talosmake.base.progress import say
from talosmake.base.wait import Wait
from talosmake.inventory import locks
from talosmake.inventory.model import Environment, Node
from talosmake.render import credentials
from talosmake.rollout.apply import NO_ANSWER
from talosmake.talos import api as talos_api
from talosmake.talos import etcd
from talosmake.talos.observe import judged, secure_api
from talosmake.talos.talosctl import CallError, Failure

_T = TypeVar("_T")


def bootstrap_cluster(environment: Environment) -> None:
    """Bootstrap etcd exactly once, and wait for all its members.

    Every control plane is asked first, so that a wiped first node founds no second cluster.

    :raises NodeError: when a control plane cannot be asked, or etcd does not come up.
    """
    # Also where Snakemake does not know that it is no longer good.
    credentials.ensure(environment)
    with locks.roll_out_lock(environment, environment.first_control_plane.name):
        answer = _bootstrap(environment)
    say(f"{environment.name}: {answer}")
    members = _wait_for_etcd(environment)
    marker.write(
        environment.paths.bootstrapped,
        step="bootstrapped",
        node=environment.first_control_plane.name,
        members=members,
        answer=answer,
        talosctl=environment.cluster.talosctl,
    )


def _bootstrap(environment: Environment) -> str:
    first = environment.first_control_plane
    left = environment.options.apply_retries
    who, timeout = f"{environment.name}/{first.name}", environment.options.node_timeout
    for attempt in Wait(who, "it to take the bootstrap", timeout):
        running = nodes_with_etcd(environment)
        if running:
            return f"etcd already runs on {', '.join(node.name for node in running)}"
        starting = [node.name for node in _others_with_data(environment)]
        if starting:
            attempt.because(f"an etcd with data is to start on {', '.join(starting)}")
            continue
        if not attempt.reason:
            say(f"{environment.name}: bootstrapping etcd on {first.name} ({first.address})")
        try:
            secure_api(environment, first).bootstrap()
            return f"bootstrapped etcd on {first.name}"
        except CallError as error:
            if error.failure is Failure.ALREADY_EXISTS:
                return f"etcd was bootstrapped on {first.name} before"
            # A node says so for some seconds after it got its config.
            if error.failure is not Failure.FAILED_PRECONDITION:
                if error.failure not in NO_ANSWER or not left:
                    raise judged(environment, first, error) from None
                left -= 1
                say(f"{environment.name}: no answer to bootstrap, asking again: {error.in_short}")
            attempt.because(error.in_short)
    raise AssertionError("the loop returns or raises")


def nodes_with_etcd(environment: Environment) -> list[Node]:
    """The control planes on which etcd runs.

    :raises NodeError: when one of them cannot be asked, or has an etcd that is down: only a person
        can tell whether founding a new one would lose data.
    """
    running = []
    for node in environment.control_planes:
        state = _etcd_state(environment, node)
        if state == "Running":
            running.append(node)
        elif state not in etcd.WITHOUT_ETCD:
            raise NodeError(
                f"{environment.name}/{node.name}: its etcd is {state}; the cluster is not "
                "bootstrapped while an etcd may have data",
                hint=f"Look at it: talosctl --talosconfig {environment.paths.talosconfig} "
                f"{node.target} service etcd",
            )
    return running


def _others_with_data(environment: Environment) -> list[Node]:
    """The control planes but the first on whose disks etcd has been.

    Where all of them were just powered on, etcd looks as if it had never run; a first node with a
    new disk would found a second cluster beside it. That one Talos itself does not bootstrap when
    it has data; it looks at no other one.
    """
    return [
        node
        for node in environment.control_planes
        if node != environment.first_control_plane
        and _asked(environment, node, lambda api: api.has_etcd_data())
    ]


def _etcd_state(environment: Environment, node: Node) -> str:
    """The state of a control plane's etcd service."""
    return _asked(environment, node, lambda api: api.etcd_state())


def _asked(environment: Environment, node: Node, ask: Callable[[talos_api.NodeApi], _T]) -> _T:
    """What a control plane says about its etcd, asked until it answers."""
    who = f"{environment.name}/{node.name}"
    for attempt in Wait(who, "its word on etcd", environment.options.node_timeout):
        try:
            return ask(secure_api(environment, node))
        except CallError as error:
            if error.failure is not Failure.UNREACHABLE:
                raise judged(environment, node, error) from None
            attempt.because(error.message)
    raise AssertionError("the loop returns or raises")


def _wait_for_etcd(environment: Environment) -> list[str]:
    """Wait until every control plane is a voting member of one etcd, each by its own word.

    Members are not counted: one may be a machine's that is gone, or of another name.

    :returns: the members' names.
    """
    nodes: dict[str, str] = {}
    for node in environment.control_planes:
        _wait_for_members(environment, node, nodes)
    members: list[str] = []
    for node in environment.control_planes:
        members = _wait_for_members(environment, node, nodes)
    return members


def _wait_for_members(environment: Environment, node: Node, nodes: dict[str, str]) -> list[str]:
    """Wait until a control plane votes in an etcd that has these members.

    :param nodes: control planes by the identifiers of their members; this one is put into it.
    :returns: the names of those that vote.
    """
    hint = (
        f"See what it does: talosctl --talosconfig {environment.paths.talosconfig} "
        f"{node.target} service etcd"
    )
    who, wanted = f"{environment.name}/{node.name}", len(environment.control_planes)
    for attempt in Wait(who, f"{wanted} etcd members", environment.options.etcd_timeout, hint):
        try:
            # Without an etcd that runs, a node leaves the other questions without an answer.
            state = secure_api(environment, node).etcd_state()
            if state != "Running":
                attempt.because(f"its etcd is {state or 'not known'}")
                continue
            own = secure_api(environment, node).etcd_status().member
            known = secure_api(environment, node).etcd_members()
        except CallError as error:
            passing = (Failure.UNREACHABLE, Failure.FAILED_PRECONDITION, Failure.OTHER)
            if error.failure not in passing:
                raise judged(environment, node, error) from None
            attempt.because(error.message)
            continue
        voters = {member.identifier: member.hostname for member in known if not member.learner}
        absent = [name for one, name in {**nodes, own: node.name}.items() if one not in voters]
        if not absent:
            nodes[own] = node.name
            return list(voters.values())
        attempt.because(f"it knows {', '.join(voters.values())}; not in it: {', '.join(absent)}")
    raise AssertionError("the loop returns or raises")
