"""What a node says of itself: the proof behind every marker."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import yaml

from talosmake.base.errors import NodeError
from talosmake.inventory import endpoints, lifetimes
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment, Node
from talosmake.talos import api as talos_api
from talosmake.talos import client_certificates, talosctl
from talosmake.talos.api import MaintenanceApi
from talosmake.talos.talosctl import CallError, Failure

_CONNECT_TIMEOUT = 2.0
_CLOCKS = (
    "The client certificate in {path} is valid from {since} to {until}, and this machine's clock "
    "says {now}: so this clock or the node's is wrong. Compare it ('date -u') with the one on the "
    "node's console. Where the node's is wrong, is its time server reachable (machine.time)? When "
    "they agree, run the same command again."
)
_ROLE = (
    "The client certificate in {path} is for {role}, which is enough for what was asked: does a "
    "Talos node of this cluster answer there?"
)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class State(StrEnum):
    """What answers at a node's address."""

    RUNNING = "running"
    MAINTENANCE = "maintenance"
    FOREIGN = "another cluster's"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Observation:
    """What was seen at a node's address.

    :ivar config: the config it runs with, if it runs and is this cluster's; b"" where it was asked
        as a reader, to whom Talos does not show it.
    :ivar macs: the hardware addresses of its links, if it is in maintenance mode.
    :ivar detail: why it is unreachable, in talosctl's or the system's words.
    """

    state: State
    config: bytes = b""
    macs: tuple[str, ...] = ()
    detail: str = ""


def secure_api(environment: Environment, node: Node) -> talos_api.NodeApi:
    """The node's API over mTLS, with the client certificate that the environment's access means."""
    return talos_api.NodeApi(
        node.address,
        node.endpoint,
        environment.paths.talosconfig_for(environment.access),
        environment.options.call_timeout,
        environment.cluster.talosctl,
    )


def maintenance_api(environment: Environment, node: Node) -> MaintenanceApi:
    """The node's API while it has no config."""
    return MaintenanceApi(
        node.maintenance_address,
        node.cert_fingerprint,
        environment.options.call_timeout,
        environment.cluster.talosctl,
    )


def observe(environment: Environment, node: Node) -> Observation:
    """Ask the node what it is. One connection and at most two calls; nothing is changed.

    :raises NodeError: when it runs, but cannot be judged (an expired certificate, say).
    """
    refused = connection_error(node.endpoint)
    if not refused:
        return _ask(environment, node)
    if node.maintenance_address == node.endpoint:
        return Observation(State.UNREACHABLE, detail=refused)
    refused = connection_error(node.maintenance_address)
    return (
        Observation(State.UNREACHABLE, detail=refused)
        if refused
        else _ask_insecurely(environment, node)
    )


def connection_error(endpoint: str) -> str:
    """Why no TCP connection to the Talos API at ``endpoint`` comes about, or "".

    :param endpoint: an address or a name, with or without a port.
    """
    where = endpoints.parsed(endpoint) or endpoints.Endpoint(endpoint)
    try:
        socket.create_connection((where.host, where.port), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        return f"{where.with_port}: {why}".lower()
    return ""


def _ask(environment: Environment, node: Node) -> Observation:
    """Ask both ways; first the way that will be right for most nodes.

    Where maintenance mode has an address of its own, what answers there may be another machine:
    the node is asked first whether it runs, and silence there says nothing about it.
    """
    apart = node.maintenance_address != node.endpoint
    ways = (observe_securely, _ask_insecurely)
    secure_first = apart or environment.paths.bootstrapped.exists()
    first, second = ways if secure_first else reversed(ways)
    seen = [first(environment, node)]
    if seen[0].state is State.FOREIGN:
        other = second(environment, node)
        seen += [] if apart and other.state is State.UNREACHABLE else [other]
    if seen[-1].state is State.FOREIGN:
        _check_certificate_name(environment, node, seen)
    return seen[-1]


def _check_certificate_name(
    environment: Environment, node: Node, seen: Iterable[Observation]
) -> None:
    """Tell a node whose certificate lacks its endpoint from another cluster's, as far as can be."""
    for live in seen:
        if talosctl.classify(live.detail) is Failure.CERTIFICATE_NAME:
            raise judged(environment, node, CallError(Failure.CERTIFICATE_NAME, live.detail))


def observe_securely(environment: Environment, node: Node) -> Observation:
    """Ask the node over mTLS only: one call, for which maintenance mode is foreign, too.

    :raises NodeError: when it runs, but cannot be judged (an expired certificate, say).
    """
    refused = connection_error(node.endpoint)  # at once, where talosctl would try for long
    if refused:
        return Observation(State.UNREACHABLE, detail=refused)
    api = secure_api(environment, node)
    try:
        if environment.access is Access.READER:
            api.version()
            return Observation(State.RUNNING)
        return Observation(State.RUNNING, api.machine_config())
    except CallError as error:
        # In maintenance mode its certificate is its own, and names the addresses it knows of.
        other = (Failure.UNKNOWN_AUTHORITY, Failure.CERTIFICATE_NAME)
        return _unseen(environment, node, error, other)


def _ask_insecurely(environment: Environment, node: Node) -> Observation:
    """Ask the node without certificates: one call, for which every running node is foreign."""
    try:
        macs = maintenance_api(environment, node).macs()
    except CallError as error:
        return _unseen(environment, node, error, (Failure.CERTIFICATE_REQUIRED,))
    return Observation(State.MAINTENANCE, macs=tuple(macs))


def _unseen(
    environment: Environment, node: Node, error: CallError, foreign: Sequence[Failure]
) -> Observation:
    if error.failure in foreign:
        return Observation(State.FOREIGN, detail=error.message)
    if error.failure is Failure.UNREACHABLE:
        return Observation(State.UNREACHABLE, detail=error.message)
    raise judged(environment, node, error) from None


def judged(environment: Environment, node: Node, error: CallError, answer: str = "") -> NodeError:
    """A call's failure as an error that names the node and what to do.

    :param answer: what may be shown of what it says, where it may hold secrets of a config.
    """
    who = f"{environment.name}/{node.name} ({node.address})"
    hints = {
        Failure.CERTIFICATE_EXPIRED: _about_certificate(environment, _CLOCKS),
        Failure.CERTIFICATE_NAME: f"talosctl connects to it at {node.endpoint} (NODE_ENDPOINT, "
        f"else NODE_IP, in {node.env_file}), which the node does not know as its own address. "
        f"Write {node.endpoint_host} into machine.certSANs of the node's patches. A node that runs "
        "already has to get that config by an address that its certificate names; or it is "
        "another cluster's.",
        Failure.FINGERPRINT: f"NODE_CERT_FINGERPRINT in {node.env_file} must be what the node's "
        "console shows; if it is, another machine answers at this address.",
        Failure.NOT_AUTHORIZED: _about_certificate(environment, _ROLE),
        Failure.REJECTED: "The node checked the config and refused it; fix the patches.",
    }
    return NodeError(f"{who}: {answer or error.message}", hint=hints.get(error.failure, ""))


def _about_certificate(environment: Environment, else_hint: str) -> str:
    """What to do where a node does not take the client certificate: it is not good, or it is."""
    path = environment.paths.talosconfig_for(environment.access)
    if environment.access is Access.ADMIN:
        problem = client_certificates.problem(environment)
    else:
        problem = client_certificates.reason(environment, environment.access)
    if problem:
        return f"{path}: {problem}. Remove it, and run the same command again: it makes a new one."
    now = datetime.now(UTC)
    since, until = client_certificates.validity(
        client_certificates.facts(environment, environment.access)
    )
    return else_hint.format(
        path=path,
        role=environment.access.role,
        now=lifetimes.shown(now),
        since=lifetimes.shown(since),
        until=lifetimes.shown(until),
    )


def foreign(environment: Environment, node: Node) -> NodeError:
    """The error for a node that belongs to another cluster."""
    return NodeError(
        f"{environment.name}/{node.name}: the machine at {node.address} belongs to another "
        f"cluster: its certificate is not from the CA in {environment.bundle}; nothing was sent",
        hint=f"Is NODE_IP in {node.env_file} right, and {environment.bundle} this cluster's?\n"
        "If the machine is to leave its old cluster, reset it with the old cluster's talosconfig: "
        f"talosctl {node.target} reset --reboot",
    )


def same_config(one: bytes, other: bytes) -> bool:
    """Whether two machine configs say the same, comments and layout apart."""
    return one == other or documents(one) == documents(other)


def documents(config: bytes) -> list[object]:
    """The documents of a machine config; what does not parse counts as one of its own."""
    try:
        return list(yaml.load_all(config, Loader=_Loader))
    except yaml.YAMLError:
        return [hashlib.sha256(config).hexdigest()]
