"""Applying configs to nodes and bootstrapping the cluster; each step asks the node first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from scripts import (
    credentials,
    guard,
    installed,
    locks,
    machine_record,
    manifests,
    marker,
    node_names,
    redacted,
    rollout,
    talosctl,
)
from scripts.errors import NodeError
from scripts.live import (
    Live,
    State,
    answer_about,
    connection_error,
    documents,
    foreign,
    judged,
    maintenance_api,
    observe,
    observe_securely,
    same_config,
    secure_api,
)
from scripts.model import Environment, Node, Role
from scripts.progress import Wait, say
from scripts.talosctl import CallError, Failure
from scripts.validate import validated_config

_T = TypeVar("_T")
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
    with rollout.turn(environment, node):
        mode, answer = _apply(environment, node, config)
    answer = answer_about(environment, node, config, answer)
    say(f"{environment.name}/{node.name}: {answer}")
    redacted.write_applied(environment, node, config)
    marker.write(
        environment.paths.applied(node),
        step="applied",
        node=node.name,
        address=node.address,
        sha256=hashlib.sha256(config).hexdigest(),
        mode=mode,
        answer=answer,
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
    retries = environment.settings.apply_retries
    for left in range(retries, -1, -1):
        live = wait_until_reachable(environment, node)
        try:
            return _apply_once(environment, node, config, live)
        except CallError as error:
            # No client certificate is asked for in maintenance mode: the node has left it since.
            leaving = live.state is State.MAINTENANCE and error.failure is Failure.NOT_AUTHORIZED
            if not left or not (leaving or error.failure in NO_ANSWER):
                raise judged(environment, node, error, config) from None
            say(
                f"{environment.name}/{node.name}: no answer to apply-config, trying again "
                f"({left} {'try' if left == 1 else 'tries'} left): {error.message.splitlines()[-1]}"
            )
            if leaving:
                _wait_until_out_of_maintenance(environment, node)
    raise AssertionError("the loop returns or raises")


def _apply_once(environment: Environment, node: Node, config: bytes, live: Live) -> tuple[str, str]:
    if live.state is State.FOREIGN:
        raise foreign(environment, node)
    if live.state is State.MAINTENANCE:
        api = maintenance_api(environment, node)
        guard.check_machine(environment, node, api, live.macs)
        say(f"{environment.name}/{node.name}: applying in maintenance mode ({api.address})")
        _record(environment, node, config)
        answer = api.apply(config)
        _wait_until_applied(environment, node, config)
        return "maintenance", answer
    guard.check_cluster(environment, node, live.config, guard.cluster_of(config))
    if same_config(live.config, config) and not _is_pending(environment, node, config):
        _record(environment, node, config)
        return "none", UNCHANGED
    mode, answer = _apply_to_running(environment, node, config)
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


def _apply_to_running(environment: Environment, node: Node, config: bytes) -> tuple[str, str]:
    mode = environment.settings.apply_mode
    api = secure_api(environment, node)
    guard.check_machine(environment, node, api)
    say(f"{environment.name}/{node.name}: applying to the running node, mode {mode}")
    _record(environment, node, config)
    if mode == "staged":
        return mode, f"{api.apply(config, mode)}; it runs as before until you reboot it"
    if mode != "reboot":
        # What `auto` does, in two steps: so a reboot can wait until etcd can bear it.
        try:
            answer = api.apply(config, "no-reboot")
        except CallError as error:
            if error.failure is not Failure.NEEDS_REBOOT:
                raise
            if mode == "no-reboot":
                raise _reboot_not_allowed(environment, node) from None
        else:
            _wait_until_applied(environment, node, config)
            return mode, answer
    with rollout.reboot(environment, node):
        before = api.boot_id()
        # What follows says why, and ends in a difference with all secrets.
        answer = api.apply(config, mode).split(": this config change")[0].split("diff:")[0]
        _wait_until_rebooted(environment, node, before)
        _wait_until_applied(environment, node, config)
    return mode, answer


def _reboot_not_allowed(environment: Environment, node: Node) -> NodeError:
    return NodeError(
        f"{environment.name}/{node.name}: the new config needs a reboot, and APPLY_MODE is "
        "no-reboot; nothing was changed",
        hint=f"Set APPLY_MODE in {environment.env_file} to auto (it reboots now, control planes "
        "one at a time), or to staged (it takes the config at its next reboot).",
    )


def wait_until_reachable(environment: Environment, node: Node) -> Live:
    """Wait for a node to answer in any state; returns what it is.

    :raises NodeError: when it does not within ``NODE_TIMEOUT``.
    """
    wait = Wait(
        f"{environment.name}/{node.name}",
        f"the Talos API at {node.maintenance_address}",
        environment.settings.node_timeout,
        hint=f"Is the machine on, booted from Talos, and its address right ({node.env_file})?\n"
        "NODE_TIMEOUT in cluster.env sets how long to wait, in seconds.",
    )
    live = Live(State.UNREACHABLE)
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
        environment.settings.node_timeout,
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
        environment.settings.node_timeout,
        hint="The config was sent. Look at the node's console; then run the same command again.",
    )
    for attempt in wait:
        live = observe_securely(environment, node)
        if live.state is State.RUNNING and same_config(live.config, config):
            return
        attempt.because(live.detail or "it still shows another config")


def _wait_until_rebooted(environment: Environment, node: Node, before: str) -> None:
    """Wait until the node shows another boot ID: as it goes down it still answers for a while."""
    wait = Wait(
        f"{environment.name}/{node.name}",
        "its reboot",
        environment.settings.node_timeout,
        hint="The config was sent. Look at the node's console; then run the same command again.",
    )
    for attempt in wait:
        if refused := connection_error(node.endpoint):
            attempt.because(refused)
            continue
        try:
            if secure_api(environment, node).boot_id() != before:
                return
            attempt.because("it still shows the boot before")
        except CallError as error:
            attempt.because(error.message)


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
    )


def _bootstrap(environment: Environment) -> str:
    first = environment.first_control_plane
    left = environment.settings.apply_retries
    who, timeout = f"{environment.name}/{first.name}", environment.settings.node_timeout
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
        elif state not in rollout.WITHOUT_ETCD:
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


def _asked(environment: Environment, node: Node, ask: Callable[[talosctl.Node], _T]) -> _T:
    """What a control plane says about its etcd, asked until it answers."""
    who = f"{environment.name}/{node.name}"
    for attempt in Wait(who, "its word on etcd", environment.settings.node_timeout):
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
    for attempt in Wait(who, f"{wanted} etcd members", environment.settings.etcd_timeout, hint):
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
