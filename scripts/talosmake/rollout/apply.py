"""Applying configs to nodes and bootstrapping the cluster; each step asks the node first."""

from __future__ import annotations

import hashlib

from talosmake.base import marker
from talosmake.base.errors import NodeError
from talosmake.base.progress import say
from talosmake.base.wait import Wait
from talosmake.checks.validate import validated_config
from talosmake.inventory import machine_record, node_names
from talosmake.inventory.model import Environment, Node, Role
from talosmake.render import credentials, disclosure, manifests
from talosmake.render.disclosure import answer_about
from talosmake.render.layers import NodeLayers
from talosmake.rollout import boots, guard, in_force, installed, turns, waits
from talosmake.talos.observe import (
    Observation,
    State,
    documents,
    foreign,
    judged,
    maintenance_api,
    observe,
    observe_securely,
    same_config,
    secure_api,
)
from talosmake.talos.talosctl import CallError, Failure

UNCHANGED = "unchanged: the node already runs this config"
# Nobody knows whether it was done.
NO_ANSWER = (
    Failure.UNREACHABLE,
    Failure.UNKNOWN_AUTHORITY,
    Failure.CERTIFICATE_REQUIRED,
    Failure.CERTIFICATE_NAME,
)


def apply_config(environment: Environment, node: Node) -> None:
    """Bring a node to its rendered config and write its ``.applied`` marker.

    Maintenance mode or running is found out by asking. A node that runs this config already is not
    touched. The marker is written once the node itself shows the config over its secure API.

    :raises ValidationError: when the config is not the validated one.
    :raises NodeError: when the node does not answer, refuses, or is not the right one.
    """
    config = validated_config(environment, node)
    # Also where Snakemake does not know that it is no longer good.
    credentials.ensure(environment)
    # Also where the job that checks all was left out; what is not rendered yet gets nothing yet.
    node_names.check_rendered(environment, _named_beside(environment, node))
    with turns.turn(environment, node):
        mode, answer = _apply(environment, node, config)
    own = NodeLayers(environment, node)
    answer = answer_about(own, config, answer)
    say(f"{environment.name}/{node.name}: {answer}")
    disclosure.write_applied(own, config)
    marker.write(
        environment.paths.applied(node),
        step="applied",
        node=node.name,
        address=node.address,
        sha256=hashlib.sha256(config).hexdigest(),
        mode=mode,
        answer=answer,
        talosctl=environment.cluster.talosctl,
    )


def _named_beside(environment: Environment, node: Node) -> list[Node]:
    """The nodes whose names a node's is compared with: control planes with all, workers with them.

    All that are rendered are compared before by a job of their own.
    """
    if node.role is Role.CONTROLPLANE:
        return list(environment.nodes)
    return [*environment.control_planes, node]


def _apply(environment: Environment, node: Node, config: bytes) -> tuple[str, str]:
    """Apply, again if no answer came: then nobody knows whether it was done, so ask first."""
    retries = environment.options.apply_retries
    for left in range(retries, -1, -1):
        live = wait_until_reachable(environment, node)
        try:
            return _apply_once(environment, node, config, live)
        except CallError as error:
            # No client certificate is asked for in maintenance mode: the node has left it since.
            leaving = live.state is State.MAINTENANCE and error.failure is Failure.NOT_AUTHORIZED
            if not left or not (leaving or error.failure in NO_ANSWER):
                own = NodeLayers(environment, node)
                raise judged(
                    environment, node, error, answer_about(own, config, error.message)
                ) from None
            say(
                f"{environment.name}/{node.name}: no answer to apply-config, trying again "
                f"({left} {'try' if left == 1 else 'tries'} left): {error.message.splitlines()[-1]}"
            )
            if leaving:
                _wait_until_out_of_maintenance(environment, node)
    raise AssertionError("the loop returns or raises")


def _apply_once(
    environment: Environment, node: Node, config: bytes, live: Observation
) -> tuple[str, str]:
    if live.state is State.FOREIGN:
        raise foreign(environment, node)
    if live.state is State.MAINTENANCE:
        api = maintenance_api(environment, node)
        guard.check_machine(environment, node, api, live.macs)
        say(f"{environment.name}/{node.name}: applying in maintenance mode ({api.address})")
        _record(environment, node, config)
        answer = api.apply(config)
        _wait_until_applied(environment, node, config)
        boots.forget(environment, node)
        return "maintenance", answer
    guard.check_cluster(environment, node, live.config, guard.cluster_of(config))
    if same_config(live.config, config) and not _is_pending(environment, node, config):
        _record(environment, node, config)
        if environment.options.apply_mode == "reboot" and boots.is_due(environment, node):
            boots.reboot(environment, node)  # an apply that was interrupted
        return "none", UNCHANGED
    mode, answer = _apply_to_running(environment, node, live.config, config)
    if settings := installed.not_read(live.config, config):
        say(f"{environment.name}/{node.name}: {', '.join(settings)}: {installed.NOT_READ}")
    if node == environment.first_control_plane and environment.paths.bootstrapped.exists():
        _tell_of_manifests(environment, live.config, config)
    return mode, answer


def _record(environment: Environment, node: Node, config: bytes) -> None:
    """Record the machine before anything is sent: one that takes it may never be heard again."""
    machine_record.write(environment, node, node_names.of_config(config))


def _is_pending(environment: Environment, node: Node, config: bytes) -> bool:
    """Whether a running node will have another config than this after its next reboot.

    One that was staged, or sent for a reboot that did not come yet; or this one was only tried.
    """
    return not same_config(secure_api(environment, node).persistent_config(), config)


def _tell_of_manifests(environment: Environment, running: bytes, config: bytes) -> None:
    """Say how a running cluster takes changed inline manifests, as a new config is not enough."""
    names = manifests.changed(documents(running), documents(config))
    if names:
        node = environment.first_control_plane
        say(
            f"{environment.name}: inline manifests changed: {', '.join(names)}. Talos creates "
            "objects that are missing, and changes none that are there. Once all control planes "
            "have their new config, the cluster takes the changes with\n"
            f"  talosctl --talosconfig {environment.paths.talosconfig} {node.target} "
            f"upgrade-k8s --to {environment.cluster.kubernetes_version} "
            "--with-docs=false --with-examples=false\n"
            "  or, for Cilium, with Helm; see docs/cilium.md"
        )


def _apply_to_running(
    environment: Environment, node: Node, running: bytes, config: bytes
) -> tuple[str, str]:
    mode = environment.options.apply_mode
    api = secure_api(environment, node)
    guard.check_machine(environment, node, api)
    say(f"{environment.name}/{node.name}: applying to the running node, mode {mode}")
    _record(environment, node, config)
    if mode == "staged":
        way_on = waits.way_on(environment, node)
        return mode, f"{api.apply(config, mode)}; it runs as before until you reboot it: {way_on}"
    if mode == "reboot" and not in_force.may_reboot(api.version()):
        return mode, _apply_then_reboot(environment, node, running, config)
    if mode != "reboot":
        # What `auto` does, in two steps: so a reboot can wait until etcd can bear it.
        try:
            with waits.sending(environment, node, running, config):
                answer = api.apply(config, "no-reboot")
        except CallError as error:
            if error.failure is not Failure.NEEDS_REBOOT:
                raise
            if mode == "no-reboot":
                raise _reboot_not_allowed(environment, node) from None
        else:
            _wait_until_applied(environment, node, config)
            _tell_of_waits(environment, node)
            return mode, answer
    with turns.reboot(environment, node):
        before = api.boot_id()
        # What follows says why, and ends in a difference with all secrets.
        answer = api.apply(config, mode).split(": this config change")[0].split("diff:")[0]
        boots.wait_until_rebooted(environment, node, before)
        boots.forget(environment, node)
        _wait_until_applied(environment, node, config)
    return mode, answer


def _apply_then_reboot(environment: Environment, node: Node, running: bytes, config: bytes) -> str:
    """What a mode of older Talos does by itself; interrupted, the next apply goes on with it."""
    api = secure_api(environment, node)
    boots.mark_due(environment, node, api.boot_id())
    try:
        with waits.sending(environment, node, running, config):
            answer = api.apply(config, "no-reboot")
    except CallError as error:
        if error.failure not in NO_ANSWER:
            environment.paths.reboot(node).unlink(missing_ok=True)
        raise
    _wait_until_applied(environment, node, config)
    boots.reboot(environment, node)
    return f"{answer}; then rebooted"


def _tell_of_waits(environment: Environment, node: Node) -> None:
    found = waits.recorded(environment, node)
    if found.settings:
        way_on = waits.way_on(environment, node)
        say(f"{environment.name}/{node.name}: has it, {found}\n  -> {way_on}")


def _reboot_not_allowed(environment: Environment, node: Node) -> NodeError:
    return NodeError(
        f"{environment.name}/{node.name}: the new config needs a reboot, and APPLY_MODE is "
        "no-reboot; nothing was changed",
        hint=f"Set APPLY_MODE in {environment.env_file} to auto (it reboots now, control planes "
        "one at a time), or to staged (it takes the config at its next reboot).",
    )


def wait_until_reachable(environment: Environment, node: Node) -> Observation:
    """Wait for a node to answer in any state; returns what it is.

    :raises NodeError: when it does not within ``NODE_TIMEOUT``.
    """
    wait = Wait(
        f"{environment.name}/{node.name}",
        f"the Talos API at {node.maintenance_address}",
        environment.options.node_timeout,
        hint=f"Is the machine on, booted from Talos, and its address right ({node.env_file})?\n"
        "NODE_TIMEOUT in cluster.env sets how long to wait, in seconds.",
    )
    live = Observation(State.UNREACHABLE)
    for attempt in wait:
        live = observe(environment, node)
        if live.state is not State.UNREACHABLE:
            break
        attempt.because(live.detail)
    return live


def _wait_until_out_of_maintenance(environment: Environment, node: Node) -> None:
    """Wait until a node that took a config shows its secure API, whoever's it is.

    It answers in maintenance mode for a moment after an apply, whose answer may have been lost.
    """
    wait = Wait(
        f"{environment.name}/{node.name}",
        "it to leave maintenance mode",
        environment.options.node_timeout,
        hint="Look at the node's console; then run the same command again.",
    )
    for attempt in wait:
        live = observe(environment, node)
        if live.state not in (State.MAINTENANCE, State.UNREACHABLE):
            return
        attempt.because(live.detail or "it still answers in maintenance mode")


def _wait_until_applied(environment: Environment, node: Node, config: bytes) -> None:
    """Wait until the secure API, by this cluster's CA, shows the config that was sent.

    The old maintenance API still answers for a moment after an insecure apply, so a foreign
    certificate is no failure here until the time is over.
    """
    wait = Wait(
        f"{environment.name}/{node.name}",
        f"the secure API at {node.address} to show the new config",
        environment.options.node_timeout,
        hint="The config was sent. Look at the node's console; then run the same command again.",
    )
    for attempt in wait:
        live = observe_securely(environment, node)
        if live.state is State.RUNNING and same_config(live.config, config):
            return
        attempt.because(live.detail or "it still shows another config")
