"""The target ``reboot``: one node, when etcd can do without it, until it is healthy again."""

from __future__ import annotations

from collections.abc import Sequence

from talosmake.base.errors import ConfigError, NodeError
from talosmake.inventory import named
from talosmake.inventory.model import Environment
from talosmake.inventory.settings import Config
from talosmake.render import credentials
from talosmake.rollout import boots, waits
from talosmake.rollout.apply import wait_until_reachable
from talosmake.rollout.reset import check_right_node
from talosmake.talos.observe import State, judged
from talosmake.talos.talosctl import CallError


def reboot(environments: Sequence[Environment], config: Config) -> None:
    """Reboot one node of one environment; interrupted, the same command goes on with it.

    :param config: ``node`` is the node.
    :raises ConfigError: when it names none, or there are several environments.
    :raises NodeError: when it does not run, is not the right one, or etcd needs it.
    """
    if len(environments) > 1:
        raise ConfigError(
            "env=all: several environments are never rebooted at once", hint="Name one of them."
        )
    [environment] = environments
    if config.node is None:
        raise _which(environment)
    node = named.one(environment, environment.nodes, config.node)
    if environment.cluster.lab:
        raise NodeError(
            f"{environment.name}/{node.name}: a lab's nodes cannot be rebooted: Talos "
            "refuses it in container mode; nothing was sent",
            hint=f"They can be powered off and on:  {waits.way_on(environment, node)}",
        )
    # Also where Snakemake does not know that it is no longer good.
    credentials.ensure(environment)
    try:
        live = wait_until_reachable(environment, node)
        check_right_node(environment, node, live)
    except CallError as error:
        raise judged(environment, node, error) from None
    if live.state is State.MAINTENANCE:
        raise NodeError(
            f"{environment.name}/{node.name}: is in maintenance mode, and has nothing that a "
            "reboot would put in force; nothing was sent",
            hint=f"It gets its config by:  snakemake up --config env={environment.name}",
        )
    boots.reboot(environment, node)


def _which(environment: Environment) -> ConfigError:
    waiting = [node for node in environment.nodes if waits.recorded(environment, node).settings]
    named_node = (waiting or list(environment.nodes))[0]
    names = ", ".join(named.short(node, environment.nodes) for node in waiting)
    return ConfigError(
        "reboot: name the node; nodes are rebooted one at a time",
        hint=f"For example:  {waits.way_on(environment, named_node)}\n"
        f"Nodes that wait for a reboot, as far as is recorded: {names or 'none'}",
    )
