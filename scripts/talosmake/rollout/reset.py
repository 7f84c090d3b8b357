"""Taking nodes back to maintenance mode, control planes out of etcd first; on request only."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import yaml

from talosmake.base.errors import ConfigError, NodeError, TalosmakeError
from talosmake.base.progress import in_this_log, say
from talosmake.base.wait import Wait
from talosmake.inventory import locks, machine_record, named, node_names, protection
from talosmake.inventory.model import Environment, Node, Role
from talosmake.inventory.removed import removed_nodes
from talosmake.inventory.settings import Config
from talosmake.render import credentials
from talosmake.rollout import boots, guard
from talosmake.rollout.apply import NO_ANSWER, wait_until_reachable
from talosmake.rollout.etcd_leave import can_leave, forget_member, may_leave
from talosmake.secrets import bundles
from talosmake.talos.observe import (
    Observation,
    State,
    foreign,
    judged,
    maintenance_api,
    observe,
    secure_api,
)
from talosmake.talos.talosctl import CallError


def reset(environments: Sequence[Environment], config: Config) -> None:
    """Reset one node, or all nodes of an environment: workers, then control planes one at a time.

    Asks every node first. A node that is in maintenance mode already is left as it is, so that an
    interrupted reset is finished by the same command.

    :param config: ``node`` is a node in Git, or one that was removed from it, None the whole
        environment; ``confirm`` is that node's name, or the environment's, and without it nothing
        is done but told; ``workers_at_once`` are reset at the same time.
    :raises ConfigError: when ``confirm`` names something else, or the environment is protected.
    :raises NodeError: when a node does not answer, is not the right one, or etcd needs it.
    """
    name, confirm = config.node, config.confirm
    if confirm and len(environments) > 1:
        raise ConfigError(
            "env=all: several environments are never reset at once", hint="Name one of them."
        )
    for environment in environments:
        nodes = _targets(environment, name)
        # Also where Snakemake does not know that it is no longer good.
        credentials.ensure(environment)
        if not confirm:
            _tell(environment, nodes, name)
            continue
        _check_confirmed(environment, name, confirm)
        _check_unprotected(environment)
        if name is None:
            _reset_all(environment, config.workers_at_once)
        else:
            name_there = _reset_node(environment, nodes[0])
            _say_what_is_left(environment, nodes[0], name_there)


def _targets(environment: Environment, name: str | None) -> list[Node]:
    if name is None:
        return [*environment.workers, *reversed(environment.control_planes)]
    return [named.one(environment, [*environment.nodes, *removed_nodes(environment)], name)]


def _check_confirmed(environment: Environment, name: str | None, confirm: str) -> None:
    wanted = name or environment.name
    if confirm != wanted:
        what = f"the node {name}" if name else f"all nodes of {environment.name}"
        raise ConfigError(
            f"confirm={confirm}: to reset {what}, it must be confirm={wanted}; nothing was done",
            hint="For one node give its name as both: node=NAME confirm=NAME",
        )


def _check_unprotected(environment: Environment) -> None:
    """Refuse a protected environment; a change that is not committed yet does not count."""
    said = protection.of(environment)
    if said:
        raise ConfigError(
            f"{said}: no node of {environment.name} is reset",
            hint="Change that line to PROTECTED=false and commit it; then run the same command.",
        )


# --- what would be done ---------------------------------------------------------------------------


def _tell(environment: Environment, nodes: Sequence[Node], name: str | None) -> None:
    """Say what a reset would do; the nodes are asked, and nothing is changed."""
    lines = [f"  {node.name} ({node.address}): {_would(environment, node, name)}" for node in nodes]
    command = f"snakemake reset --config env={environment.name}"
    command += f" node={name} confirm={name}" if name else f" confirm={environment.name}"
    protected = protection.of(environment)
    say(
        f"{environment.name}: a reset wipes config and data of a node and reboots it into "
        "maintenance mode; Talos stays on its disk. Nothing was done. It would be:\n"
        + "\n".join(lines)
        + (f"\n  -> refused as long as {protected}" if protected else "")
        + f"\n  -> to do it:  {command}"
    )


def _would(environment: Environment, node: Node, name: str | None) -> str:
    try:
        live = observe(environment, node)
        check_right_node(environment, node, live)
        if live.state is not State.RUNNING:
            return f"{live.state}{f' ({live.detail})' if live.detail else ''}"
        if node.role is Role.WORKER or name is None:
            return f"{live.state}: would be drained and reset"
        return f"{live.state}: would leave etcd and be reset; {may_leave(environment, node)}"
    except CallError as error:
        return f"does not answer: {error.in_short}"
    except TalosmakeError as error:
        return f"refused: {error.message}"


# --- doing it -------------------------------------------------------------------------------------


def _reset_all(environment: Environment, at_once: int) -> None:
    """Workers side by side, then control planes, the first one last."""
    with ThreadPoolExecutor(at_once) as pool:
        one = in_this_log(partial(_error_of, environment))
        errors = [error for error in pool.map(one, environment.workers) if error]
    if errors:
        raise NodeError(
            "\n".join(error.message for error in errors),
            hint="No control plane was touched. When the cause is fixed, run the same command; a "
            "machine that is gone for good is to leave Git first: remove its directory.",
        )
    environment.paths.bootstrapped.unlink(missing_ok=True)
    environment.paths.kubeconfig.unlink(missing_ok=True)
    for node in reversed(environment.control_planes):
        _reset_node(environment, node, whole=True)
    say(
        f"{environment.name}: all nodes are in maintenance mode; bring them up again:  "
        f"snakemake up --config env={environment.name}"
    )


def _error_of(environment: Environment, node: Node) -> TalosmakeError | None:
    try:
        _reset_node(environment, node, whole=True)
    except TalosmakeError as error:
        return error
    return None


def _reset_node(environment: Environment, node: Node, *, whole: bool = False) -> str:
    """Reset a node, again if no answer came, and wait for it in maintenance mode.

    Control planes are reset while no other process changes one.

    :param whole: all nodes are to be reset, so etcd may lose its quorum.
    :returns: the name that it had to Kubernetes; "" where nobody knows.
    """
    if node.role is Role.WORKER:
        return _reset(environment, node, whole=whole)
    with locks.roll_out_lock(environment, node.name):
        return _reset(environment, node, whole=whole)


def _reset(environment: Environment, node: Node, *, whole: bool) -> str:
    who = f"{environment.name}/{node.name}"
    for left in range(environment.options.apply_retries, -1, -1):
        live = wait_until_reachable(environment, node)
        try:
            check_right_node(environment, node, live)
            if live.state is State.MAINTENANCE:
                say(f"{who}: is in maintenance mode")
            else:
                _record_names(environment, node, live)
                _send(environment, node, whole=whole)
            break
        except CallError as error:
            if error.failure not in NO_ANSWER or not left:
                raise judged(environment, node, error) from None
            say(f"{who}: no answer to reset, trying again: {error.in_short}")
    _wait_until_in_maintenance(environment, node)
    if node.role is Role.CONTROLPLANE and not whole:
        forget_member(environment, node)
    nodename = _nodename(environment, node)
    environment.paths.applied(node).unlink(missing_ok=True)
    environment.paths.machine_of(node).unlink(missing_ok=True)
    boots.forget(environment, node)
    return nodename


def _record_names(environment: Environment, node: Node, live: Observation) -> None:
    """Keep what a node is called, for when it does not answer any more, also to a next run."""
    name = node_names.of_config(live.config)
    try:
        nodename = secure_api(environment, node).nodename() or name.nodename
    except CallError:  # what it is sent next says why
        nodename = name.nodename
    machine_record.write(environment, node, node_names.Name(name.hostname, nodename))


def _nodename(environment: Environment, node: Node) -> str:
    recorded = node_names.recorded(environment, node).nodename
    return recorded or node_names.of_node(environment, node).nodename


def _send(environment: Environment, node: Node, *, whole: bool) -> None:
    who = f"{environment.name}/{node.name}"
    graceful = True
    if node.role is Role.CONTROLPLANE and whole:
        graceful = can_leave(environment, node)
    elif node.role is Role.CONTROLPLANE:
        say(f"{who}: {may_leave(environment, node)}")
    environment.paths.applied(node).unlink(missing_ok=True)  # from now on it may not hold
    leaving = " leaving etcd and" * (graceful and node.role is Role.CONTROLPLANE)
    say(f"{who}:{leaving} being reset")
    secure_api(environment, node).reset(graceful=graceful)


def check_right_node(environment: Environment, node: Node, live: Observation) -> None:
    """Refuse whatever is not this node of this cluster.

    :raises NodeError: with what was expected and what was found.
    """
    if live.state is State.FOREIGN:
        raise foreign(environment, node)
    if live.state is State.RUNNING:
        bundle = yaml.safe_load(bundles.bundle_of(environment))
        wanted = guard.ClusterIdentity(str(bundle["cluster"]["id"]), environment.cluster.name)
        guard.check_cluster(environment, node, live.config, wanted)
        guard.check_machine(environment, node, secure_api(environment, node))
    elif live.state is State.MAINTENANCE:
        guard.check_machine(environment, node, maintenance_api(environment, node), live.macs)


def _wait_until_in_maintenance(environment: Environment, node: Node) -> None:
    wait = Wait(
        f"{environment.name}/{node.name}",
        f"maintenance mode at {node.maintenance_address}",
        environment.options.node_timeout,
        hint="The reset was accepted. Look at the node's console; then run the same command again.",
    )
    for attempt in wait:
        try:
            live = observe(environment, node)
        except NodeError as error:
            attempt.because(error.message)
            continue
        if live.state is State.MAINTENANCE:
            return
        attempt.because(live.detail or f"what answers is {live.state}")


def _say_what_is_left(environment: Environment, node: Node, nodename: str) -> None:
    name = environment.name
    if node in environment.nodes:
        say(
            f"{name}/{node.name}: is in maintenance mode; it is brought back by:  "
            f"snakemake up --config env={name}"
        )
        return
    kubectl = f"kubectl --kubeconfig {environment.paths.kubeconfig}"
    objects = (
        f"{kubectl} delete node {nodename}"
        if nodename
        else f"{kubectl} get nodes (its name there is not known: the one that is NotReady), and "
        "then 'delete node' with that name"
    )
    say(
        f"{name}/{node.name}: is in maintenance mode and no longer part of the cluster. "
        f"What is left of it:\n  {objects}\n  snakemake prune --config env={name}"
    )
