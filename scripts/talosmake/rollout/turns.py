"""Changing control planes one at a time, so that etcd never loses its quorum."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from talosmake.base import files, marker
from talosmake.base.errors import NodeError, ToolError
from talosmake.base.this_run import Noted
from talosmake.base.wait import Wait
from talosmake.inventory import locks
from talosmake.inventory.model import Environment, Node, Role
from talosmake.talos import etcd
from talosmake.talos.etcd import WITHOUT_ETCD
from talosmake.talos.observe import State, connection_error, observe, secure_api
from talosmake.talos.talosctl import CallError

_seen_running: Noted[str] = Noted("a cluster without a marker that runs, by environment")


@contextlib.contextmanager
def turn(environment: Environment, node: Node) -> Iterator[None]:
    """Let one control plane of a bootstrapped cluster be changed; a failure stops those after it.

    That holds for all processes: another checkout's, and the jobs of an executor. Before the
    bootstrap control planes are changed side by side, and nobody bootstraps meanwhile; for workers
    nothing is waited for. Nor is it for a control plane in maintenance mode, which costs etcd
    nothing: others may have to wait until it has joined.

    :raises NodeError: when one before failed. The failure of this one gets how to go on as a hint.
    """
    if node.role is not Role.CONTROLPLANE:
        yield
        return
    with contextlib.ExitStack() as held:
        if not environment.paths.bootstrapped.exists():
            held.enter_context(locks.roll_out_lock(environment, node.name, shared=True))
            if not _runs_etcd(environment):
                yield
                return
        if _joins(environment, node):
            held.close()
        else:
            held.enter_context(locks.roll_out_lock(environment, node.name))
        stopped = locks.stopped_at(environment)
        if stopped:
            raise NodeError(
                f"{environment.name}/{node.name}: not changed, because the roll-out stopped at "
                f"{stopped}",
                hint=_go_on(environment),
            )
        try:
            yield
        except (NodeError, ToolError) as error:
            locks.stop_roll_out(environment, node.name)
            error.hint = "\n".join(filter(None, (error.hint, _go_on(environment))))
            raise


def _joins(environment: Environment, node: Node) -> bool:
    try:
        return observe(environment, node).state is State.MAINTENANCE
    except NodeError:
        return False  # said when it is applied


def _runs_etcd(environment: Environment) -> bool:
    """Whether a cluster that has no marker is bootstrapped all the same, by what runs.

    A new checkout has no markers, in a pipeline say. That it runs once is remembered.
    """
    if environment.name not in _seen_running:
        if not any(_etcd_runs(environment, node) for node in environment.control_planes):
            return False
        _seen_running.add(environment.name)
    return True


def _etcd_runs(environment: Environment, node: Node) -> bool:
    if connection_error(node.endpoint):  # at once, where talosctl would try for long
        return False
    try:
        api = secure_api(environment, node)
        # After a power cut, an etcd that has data looks as if it had never run.
        return api.etcd_state() == "Running" or api.has_etcd_data()
    except CallError:
        return False


@contextlib.contextmanager
def reboot(
    environment: Environment,
    node: Node,
    *,
    came: bool = False,
    sent: str = "The config was sent.",
) -> Iterator[None]:
    """Let a node reboot: a control plane when all other members of etcd are healthy.

    Left when all members are, this one too.

    :param came: it has rebooted already, and its etcd is still to be waited for.
    :param sent: what was done then, for a hint.
    :raises NodeError: when they are not within ``ETCD_TIMEOUT``; before, nothing was sent.
    """
    if node.role is not Role.CONTROLPLANE:
        yield
        return
    with locks.roll_out_lock(environment, node.name):
        runs = environment.paths.bootstrapped.exists() or _has_etcd(environment, node)
        if runs and not came:
            _wait_until_healthy(environment, node, "all other etcd members to be healthy", node)
        yield
        if runs:
            what = "etcd to be healthy after its reboot"
            _wait_until_healthy(environment, node, what, sent=sent)


def _has_etcd(environment: Environment, node: Node) -> bool:
    try:
        api = secure_api(environment, node)
        return api.etcd_state() not in WITHOUT_ETCD or api.has_etcd_data()
    except CallError:
        return True


def _wait_until_healthy(
    environment: Environment, node: Node, what: str, besides: Node | None = None, sent: str = ""
) -> None:
    hint = f"{sent} Look at the node's console."
    if besides:
        hint = (
            "Nothing was sent to it: a reboot now could cost etcd its quorum. Look at the members "
            "that are named; a member that is gone for good leaves with 'talosctl etcd "
            "remove-member' (docs/day-2.md), and its directory leaves Git."
        )
    who, timeout = f"{environment.name}/{node.name}", environment.options.etcd_timeout
    for attempt in Wait(who, what, timeout, hint=hint):
        seen = etcd.observe(environment)
        why = seen.unhealthy(besides)
        if besides and not why:
            why = seen.absence(environment.control_planes, besides)
        if not why:
            return
        attempt.because(why)


def _go_on(environment: Environment) -> str:
    """How to finish a roll-out that stopped."""
    name, paths = environment.name, environment.paths
    left = [node for node in environment.control_planes if not _is_applied(environment, node)]
    return (
        f"Control planes that do not have their new config yet: "
        f"{', '.join(node.name for node in left)}. Nodes that have it stay as they are.\n"
        f"When the cause is fixed, go on with the same command; to begin with a certain node: "
        f"snakemake {paths.applied(left[0]) if left else ''} --config env={name}"
    )


def _is_applied(environment: Environment, node: Node) -> bool:
    config = environment.paths.config(node)
    said = marker.read(environment.paths.applied(node)).get("sha256")
    return config.exists() and said == files.sha256_of(config)
