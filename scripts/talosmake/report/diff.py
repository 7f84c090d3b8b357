"""Diff: what differs between Git and the nodes, or between Git and what was last applied."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum, auto

from talosmake.base import marker
from talosmake.base.errors import NodeError, TalosmakeError
from talosmake.base.redact import REDACTED
from talosmake.checks.validate import validated_config
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment, Node
from talosmake.inventory.removed import removed_nodes
from talosmake.render import credentials, disclosure
from talosmake.render.compare import unified
from talosmake.render.disclosure import Config, Hides, answer_about
from talosmake.render.layers import NodeLayers
from talosmake.report.explain import chosen
from talosmake.rollout import guard, installed, waits
from talosmake.talos.observe import (
    Observation,
    State,
    foreign,
    judged,
    observe,
    same_config,
    secure_api,
)
from talosmake.talos.talosctl import CallError

_AT_ONCE = 16
# The exit code where something differs; 1 says that it is not known.
DIFFERS = 2
_NEEDS = {
    "auto": "applying it reboots the node",
    "no-reboot": "applying it needs a reboot, which APPLY_MODE=no-reboot refuses",
    "staged": "it needs a reboot; staged, the node takes it at its next one",
    "reboot": "applying it reboots the node",
}


class Against(StrEnum):
    """What the rendered configs are compared with."""

    LIVE = auto()
    APPLIED = auto()


@dataclass(frozen=True)
class NodeDiff:
    """How a node is to Git.

    :ivar summary: in words.
    :ivar lines: a unified diff, secrets redacted.
    :ivar error: why it could not be compared.
    :ivar talos: the Talos that it runs, where it was asked.
    :ivar to_do: how a person gives it the Talos that Git says; nothing where it runs that.
    :ivar waits: settings that it has, and that are not in force before a reboot.
    :ivar way_on: how a person makes them be in force.
    """

    node: Node
    summary: str
    differs: bool = True
    lines: tuple[str, ...] = ()
    error: TalosmakeError | None = None
    talos: installed.Talos | None = None
    to_do: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    way_on: str = ""


class Numbered:
    """Labels for hidden values: the same for the same value, so that one sees which changed."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, value: str) -> str:
        number = self._numbers.setdefault(value, len(self._numbers) + 1)
        return f"{REDACTED[:-1]} {number}>"


def compared(old: Config, old_hides: Hides, new: Config, new_hides: Hides) -> list[str]:
    """A unified diff of two configs, secrets redacted, with the keys above in each hunk's header.

    Hidden values are numbered: where the number changes, the value does.
    """
    label = Numbered()
    return unified(
        disclosure.redacted(old, old_hides, label), disclosure.redacted(new, new_hides, label)
    )


def to_live(environment: Environment, node: Node) -> NodeDiff:
    """Compare a node's rendered config with the one that it runs with; nothing is changed.

    :raises TalosmakeError: when it cannot be compared.
    """
    config = validated_config(environment, node)
    live = observe(environment, node)
    if live.state is State.FOREIGN:
        raise foreign(environment, node)
    if live.state is State.MAINTENANCE:
        return NodeDiff(node, f"new: in maintenance mode at {node.maintenance_address}")
    if live.state is State.UNREACHABLE:
        if environment.paths.applied(node).exists():
            raise NodeError(
                f"{environment.name}/{node.name}: does not answer, so nobody can say what it runs: "
                f"{live.detail}",
                hint="Is it powered on? To compare with what was last applied, without asking any "
                f"node: snakemake diff --config env={environment.name} against=applied",
            )
        return NodeDiff(node, f"new, or powered off: nothing answers ({live.detail})")
    return _to_running(environment, node, config, live)


def _to_running(environment: Environment, node: Node, config: bytes, live: Observation) -> NodeDiff:
    guard.check_cluster(environment, node, live.config, guard.cluster_of(config))
    same = same_config(live.config, config)
    own = NodeLayers(environment, node)
    try:
        persistent = secure_api(environment, node).persistent_config()
        pending = persistent != live.config
        # A dry run would make what is only tried permanent (Talos issue 14343).
        needs = "" if same else _PENDING if pending else _reboot(environment, node, config)
        waiting = waits.still(environment, node)
    except CallError as error:
        raise judged(environment, node, error, answer_about(own, config, error.message)) from None
    lines = [] if same else _redacted_diff(own, live.config, config)
    talos = installed.ask(environment, node)
    found = installed.difference(talos, installed.wanted(environment.cluster_of(node), config))
    if same:
        runs = "has what is in Git" if waiting.settings else "runs what is in Git"
        said = f"runs the config in Git, but {found}" if found else runs
        said += "; a staged or tried config is pending on it" * pending
    else:
        said = f"differs; {needs}" + "; only the form differs" * (not lines)
        if needs == _NO_REBOOT:
            later = waits.will_wait(live.config, config, talos.version)
            said += f", but it is {later}" if later.settings else ""
        if settings := installed.not_read(live.config, config):
            said += f"; {', '.join(settings)} changes no running node"
        said += f"; runs {found}" if found else ""
    # Staged: what is in Git comes with a reboot.
    comes = bool(waiting.settings) or (pending and same_config(persistent, config))
    way_on = waits.way_on(environment, node) if comes else ""
    if waiting.settings:
        said += f", {waiting}" if same else f"; of what it has, {waiting}"
    return NodeDiff(
        node,
        said,
        differs=pending or not same or found is not None,
        lines=tuple(lines),
        talos=talos,
        to_do=tuple(installed.to_do(own, found)) if found else (),
        waits=waiting.settings,
        way_on=way_on,
    )


_NO_REBOOT = "applying it needs no reboot"
_PENDING = (
    "a staged or tried config is pending on it, so it was not asked whether it needs a reboot"
)


def _reboot(environment: Environment, node: Node, config: bytes) -> str:
    """What applying the config would take, as the node says."""
    api = secure_api(environment, node)
    guard.check_machine(environment, node, api)
    answer = api.dry_run(config)
    mode = environment.options.apply_mode
    if re.search(r"Applied configuration without a reboot", answer) and mode != "reboot":
        staged = " (APPLY_MODE=staged: it takes it at its next one)" if mode == "staged" else ""
        return f"{_NO_REBOOT}{staged}"
    if re.search(r"Applied configuration with a reboot", answer) or mode == "reboot":
        return _NEEDS[mode]
    return "the node does not say whether applying it needs a reboot"


def _redacted_diff(own: NodeLayers, running: bytes, config: bytes) -> list[str]:
    secrets = disclosure.secrets_of(own)
    new = disclosure.parsed(config)
    clear = disclosure.clear_lines(new, secrets.hides)
    applied = own.environment.paths.applied_config(own.node)
    if applied.exists():
        kept = disclosure.parsed(applied.read_bytes())
        clear |= disclosure.clear_lines(kept, lambda *where: REDACTED in where[2])
    hides = disclosure.hides_unknown(secrets, clear)
    return compared(disclosure.parsed(running), hides, new, secrets.hides)


def to_applied(environment: Environment, node: Node) -> NodeDiff:
    """Compare a node's rendered config with the one last applied to it; no node is asked.

    :raises TalosmakeError: when it cannot be compared.
    """
    config = validated_config(environment, node)
    said = marker.read(environment.paths.applied(node)).get("sha256")
    if said is None:
        return NodeDiff(node, "new: nothing was applied to it from here")
    if said == hashlib.sha256(config).hexdigest():
        waiting = waits.recorded(environment, node)
        return NodeDiff(
            node,
            "is what was last applied" + (f", by then {waiting}" if waiting.settings else ""),
            differs=False,
            waits=waiting.settings,
            way_on=waits.way_on(environment, node) if waiting.settings else "",
        )
    path = environment.paths.applied_config(node)
    if not path.exists():
        return NodeDiff(node, f"differs from what was last applied, of which {path} is lost")
    new = disclosure.redacted(
        disclosure.parsed(config), disclosure.secrets_of(NodeLayers(environment, node)).hides
    )
    lines = unified(disclosure.parsed(path.read_bytes()), new)
    what = "" if lines else ", in what is not shown: secrets"
    return NodeDiff(node, f"differs from what was last applied{what}", lines=tuple(lines))


def of_environment(
    environment: Environment, nodes: Sequence[Node], against: Against
) -> list[NodeDiff]:
    """Compare several nodes, some at a time; in their order, each with its own error if any."""
    compare = {Against.LIVE: to_live, Against.APPLIED: to_applied}[against]

    def attempt(node: Node) -> NodeDiff:
        try:
            return compare(environment, node)
        except TalosmakeError as error:
            return NodeDiff(node, "cannot be compared", error=error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(attempt, nodes))


def report(environment: Environment, diffs: Sequence[NodeDiff], against: Against) -> str:
    """What was found, each difference below its node."""
    other = {Against.LIVE: "running", Against.APPLIED: "applied"}[against]
    lines = []
    for diff in diffs:
        lines.append(f"{environment.name}/{diff.node.name}: {diff.summary}")
        if diff.lines:
            name = diff.node.config_name
            lines += [f"--- {name} {other}", f"+++ {name} in Git", *diff.lines]
        lines += [f"  -> {line}" for line in (*diff.to_do, diff.way_on) if line]
    if any(diff.to_do for diff in diffs):
        lines.append(installed.HOW)
    gone = [node.name for node in removed_nodes(environment)]
    if gone:
        lines.append(f"{environment.name}: no longer in Git, not reset: {', '.join(gone)}")
    failed = sum(diff.error is not None for diff in diffs)
    differ = sum(diff.differs for diff in diffs) - failed
    unknown = f", {failed} cannot be compared" if failed else ""
    total = f"{len(diffs)} node{'s' * (len(diffs) != 1)}"
    waiting = sum(bool(diff.waits) for diff in diffs)
    unknown += f", {waiting} {'has' if waiting == 1 else 'have'} to be rebooted" * bool(waiting)
    lines.append(f"{environment.name}: {differ} of {total} differ from Git{unknown}")
    return "\n".join(lines)


def show(environments: Sequence[Environment], name: str | None, against: str) -> int:
    """Print how nodes differ from Git: the exit code of the run, 2 where one does.

    :param name: the one node to compare; None for all.
    :param against: ``live`` or ``applied``.
    :raises NodeError: after all was shown, when a node could not be compared.
    """
    errors, differs = [], False
    for environment in environments:
        if against == Against.LIVE:
            # Talos shows machine configs, and what a change would take, to os:admin only.
            environment = credentials.looking(environment, Access.DAY)
        diffs = of_environment(environment, chosen(environment, name), Against(against))
        print(report(environment, diffs, Against(against)))
        gone = name is None and bool(removed_nodes(environment))
        differs |= gone or any(diff.differs or diff.waits for diff in diffs)
        errors += [diff.error for diff in diffs if diff.error]
    if errors:
        *others, last = errors
        raise NodeError("\n".join([*map(str, others), last.message]), hint=last.hint)
    return DIFFERS if differs else 0
