"""Asking all nodes whether the markers still hold."""

from __future__ import annotations

import hashlib

from talosmake.base import files, marker
from talosmake.base.parallel import each
from talosmake.base.progress import say
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment, Node
from talosmake.render import credentials
from talosmake.rollout import waits
from talosmake.rollout.bootstrap import nodes_with_etcd
from talosmake.talos.observe import Observation, State, observe, same_config, secure_api
from talosmake.talos.talosctl import CallError


def refresh(environment: Environment) -> None:
    """Ask every node, and drop the markers that no longer hold.

    A node that does not answer proves nothing: its marker stays.

    :raises NodeError: when a node runs but cannot be judged.
    """
    # Talos shows machine configs to os:admin only.
    environment = credentials.looking(environment, Access.DAY)
    nodes = [node for node in environment.nodes if environment.paths.applied(node).exists()]
    dropped = False
    for node, live in zip(nodes, each(nodes, lambda n: observe(environment, n)), strict=True):
        applied = environment.paths.applied(node)
        if live.state is State.UNREACHABLE:
            say(f"{environment.name}/{node.name}: does not answer ({live.detail}); marker kept")
        elif _holds(environment, node, live):
            say(f"{environment.name}/{node.name}: runs the config that was applied; marker kept")
            _refresh_waits(environment, node)
        else:
            applied.unlink()
            dropped = True
            say(f"{environment.name}/{node.name}: {_differs(live)}; {applied} dropped")
    _refresh_bootstrapped(environment)
    if dropped:
        say(f"{environment.name}: the next run applies what is missing")


def _refresh_waits(environment: Environment, node: Node) -> None:
    """Drop what waited for a reboot once the node has rebooted; without an answer it stays."""
    if not waits.recorded(environment, node).settings:
        return
    try:
        left = waits.still(environment, node)
    except CallError as error:
        say(f"{environment.name}/{node.name}: does not tell its boot ({error.in_short})")
        return
    waits.write(environment, node, left)
    path = environment.paths.waits(node)
    said = f"{left}; {path} kept" if left.settings else f"has rebooted; {path} dropped"
    say(f"{environment.name}/{node.name}: {said}")


def _holds(environment: Environment, node: Node, live: Observation) -> bool:
    if live.state is not State.RUNNING or _has_another_pending(environment, node, live):
        return False
    said = marker.read(environment.paths.applied(node))
    if hashlib.sha256(live.config).hexdigest() == said.get("sha256"):
        return True
    config = environment.paths.config(node)
    return (
        config.exists()
        and files.sha256_of(config) == said.get("sha256")
        and same_config(live.config, config.read_bytes())
    )


def _has_another_pending(environment: Environment, node: Node, live: Observation) -> bool:
    """Whether another config is to come with its next reboot; without an answer, nobody knows."""
    try:
        pending = secure_api(environment, node).persistent_config()
    except CallError:
        return False
    return not same_config(pending, live.config)


def _differs(live: Observation) -> str:
    if live.state is State.RUNNING:
        return "runs another config than the one applied, or will after its next reboot"
    return f"what answers is {live.state}"


def _refresh_bootstrapped(environment: Environment) -> None:
    path = environment.paths.bootstrapped
    if not path.exists():
        return
    for node in environment.control_planes:
        if observe(environment, node).state is State.UNREACHABLE:
            say(f"{environment.name}: {node.name} does not answer; {path} kept")
            return
    running = all(
        environment.paths.applied(node).exists() for node in environment.control_planes
    ) and nodes_with_etcd(environment)
    if running:
        say(f"{environment.name}: etcd runs; {path} kept")
    else:
        path.unlink()
        say(f"{environment.name}: etcd runs on no control plane; {path} dropped")
