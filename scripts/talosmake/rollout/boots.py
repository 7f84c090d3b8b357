"""Reboots of running nodes: sent once, and waited for until the node shows another boot."""

from __future__ import annotations

from talosmake.base import marker
from talosmake.base.progress import say
from talosmake.base.wait import Wait
from talosmake.inventory.model import Environment, Node
from talosmake.rollout import turns, waits
from talosmake.talos.observe import connection_error, judged, secure_api
from talosmake.talos.talosctl import CallError, Failure

_SENT = "The reboot was accepted."


def reboot(environment: Environment, node: Node) -> None:
    """Reboot a running node, a control plane when all other members of etcd are healthy.

    In which boot it is told to is recorded before, so that a reboot that came is waited for, and
    not sent again. Ends when the node shows another boot, and etcd is healthy with it.

    :raises NodeError: when etcd needs it, or it does not come back within ``NODE_TIMEOUT``.
    """
    who = f"{environment.name}/{node.name}"
    try:
        came = _has_come(environment, node)
        with turns.reboot(environment, node, came=came, sent=_SENT):
            before = _sent_in(environment, node)
            if _has_come(environment, node):
                say(
                    f"{who}: has rebooted since an earlier run was to reboot it, so it is not again"
                )
            else:
                _send(environment, node, before)
                wait_until_rebooted(environment, node, before, _SENT)
    except CallError as error:
        raise judged(environment, node, error) from None
    forget(environment, node)
    say(f"{who}: has rebooted")


def is_due(environment: Environment, node: Node) -> bool:
    """Whether a reboot was begun and nobody has seen its end."""
    return bool(_recorded(environment, node))


def mark_due(environment: Environment, node: Node, boot_id: str) -> None:
    """Record that a node is to leave the boot that it is in."""
    marker.write(environment.paths.reboot(node), step="reboot", node=node.name, boot_id=boot_id)


def forget(environment: Environment, node: Node) -> None:
    """Drop what was recorded of a boot that is over."""
    environment.paths.waits(node).unlink(missing_ok=True)
    environment.paths.reboot(node).unlink(missing_ok=True)


def _recorded(environment: Environment, node: Node) -> str:
    return str(marker.read(environment.paths.reboot(node)).get("boot_id") or "")


def _has_come(environment: Environment, node: Node) -> bool:
    """Whether the reboot that is recorded came; what was sent to the node since waits for another.

    Such a record is over: it is dropped.
    """
    before = _recorded(environment, node)
    now = secure_api(environment, node).boot_id() if before else ""
    if now == before:
        return False
    if waits.recorded(environment, node).after(now).settings:
        environment.paths.reboot(node).unlink(missing_ok=True)
        return False
    return True


def _sent_in(environment: Environment, node: Node) -> str:
    """The boot that it is to leave, recorded before it is told to."""
    if not (before := _recorded(environment, node)):
        before = secure_api(environment, node).boot_id()
        mark_due(environment, node, before)
    return before


def _send(environment: Environment, node: Node, before: str) -> None:
    """Tell it to reboot; again where no answer came, and it is in that boot still."""
    say(f"{environment.name}/{node.name}: rebooting")
    for left in range(environment.options.apply_retries, -1, -1):
        try:
            secure_api(environment, node).reboot()
            return
        except CallError as error:
            if error.failure is not Failure.UNREACHABLE:
                environment.paths.reboot(node).unlink(missing_ok=True)  # it said no
                raise
            if not left:
                raise
            said = error.in_short
        if _boot_now(environment, node) != before:
            return
        say(f"{environment.name}/{node.name}: no answer to reboot, trying again: {said}")


def _boot_now(environment: Environment, node: Node) -> str:
    """The boot that it is in, as soon as it answers."""
    wait = Wait(
        f"{environment.name}/{node.name}",
        f"the Talos API at {node.address}",
        environment.options.node_timeout,
        hint="Look at the node's console; then run the same command again.",
    )
    for attempt in wait:
        try:
            return secure_api(environment, node).boot_id()
        except CallError as error:
            attempt.because(error.in_short)
    raise AssertionError("the loop returns or raises")


def wait_until_rebooted(
    environment: Environment, node: Node, before: str, sent: str = "The config was sent."
) -> None:
    """Wait until the node shows another boot ID: as it goes down it still answers for a while.

    :param before: the boot that it is to leave.
    :param sent: what was done, for a hint.
    :raises NodeError: when it does not within ``NODE_TIMEOUT``.
    """
    wait = Wait(
        f"{environment.name}/{node.name}",
        "its reboot",
        environment.options.node_timeout,
        hint=f"{sent} Look at the node's console; then run the same command again.",
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
