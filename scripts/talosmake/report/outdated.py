"""Nodes whose Talos is not the one in Git, as the ends of runs and ``nodes`` tell of them.

What a node said last is kept in ``state/<node>.talos``, so that a run that changes nothing asks no
node: only nodes that were applied since, or that did not run what Git says, are asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from talosmake.base import marker, this_run
from talosmake.base.errors import TalosmakeError
from talosmake.inventory.model import Environment, Node
from talosmake.render import machine_config
from talosmake.render.layers import NodeLayers
from talosmake.rollout import installed
from talosmake.rollout.installed import Difference, Talos
from talosmake.talos.observe import connection_error

_AT_ONCE = 16
# Of so many nodes the commands are shown.
_SHOWN = 8


@dataclass(frozen=True)
class Seen:
    """What is known of a node's Talos.

    :ivar difference: from Git's; None where there is none, or it is not known.
    :ivar unknown: why it is not known.
    """

    node: Node
    difference: Difference | None = None
    unknown: str = ""


def in_git(environment: Environment, node: Node) -> Talos | None:
    """The Talos that Git says for a node, whatever was rendered; None where that is not known."""
    try:
        if environment.artifact:
            config = environment.paths.config(node).read_bytes()
        else:
            config = machine_config.render(environment, node)
    except (TalosmakeError, OSError):
        return None
    return installed.wanted(environment.cluster_of(node), config)


def after_run(environment: Environment) -> list[Seen]:
    """What is known of the nodes' Talos when a run has brought them what is in Git.

    A machine that got its first config in this run may be about to install Talos still: it is asked
    the next time.
    """
    nodes = [node for node in environment.nodes if _is_settled(environment, node)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda node: _seen(environment, node), nodes))


def _is_settled(environment: Environment, node: Node) -> bool:
    applied, config = environment.paths.applied(node), environment.paths.config(node)
    if not applied.exists() or not config.exists():
        return False
    before = applied.stat().st_mtime < this_run.current().began
    return before or marker.read(applied).get("mode") != "maintenance"


def _seen(environment: Environment, node: Node) -> Seen:
    try:
        config = environment.paths.config(node).read_bytes()
        git = installed.wanted(environment.cluster, config)
        kept = _kept(environment, node)
        if kept is not None and installed.difference(kept, git) is None:
            return Seen(node)
        if refused := connection_error(node.endpoint):
            return Seen(node, unknown=refused)
        runs = installed.ask(environment, node)
        marker.write(environment.paths.talos(node), version=runs.version, schematic=runs.schematic)
    except TalosmakeError as error:
        return Seen(node, unknown=error.message.splitlines()[0])
    except OSError as error:
        return Seen(node, unknown=f"{error.filename}: {error.strerror}")
    return Seen(node, installed.difference(runs, git))


def _kept(environment: Environment, node: Node) -> Talos | None:
    """What a node said since it was applied last, if it did."""
    path, applied = environment.paths.talos(node), environment.paths.applied(node)
    if not path.exists() or path.stat().st_mtime < applied.stat().st_mtime:
        return None
    said = marker.read(path)
    version = str(said.get("version", ""))
    return Talos(version, str(said.get("schematic", ""))) if version else None


def in_short(seen: Sequence[Seen]) -> str:
    """For the line that sums a run up: ``; 4 run Talos v1.13.0, Git says v1.13.6``, or ""."""
    counts = Counter(str(one.difference) for one in seen if one.difference)
    parts = [f"; {count} run{'s' * (count == 1)} {what}" for what, count in counts.items()]
    return "".join(parts)


def advice(environment: Environment, seen: Sequence[Seen]) -> list[str]:
    """What to do about nodes whose Talos is not Git's, and what is not known, as lines."""
    found = [(one.node, one.difference) for one in seen if one.difference]
    lines = [f"  {installed.HOW}:"] if found else []
    for node, difference in found[:_SHOWN]:
        first, *others = installed.to_do(NodeLayers(environment, node), difference)
        lines += [f"    {node.name}: {first}", *(f"      ({line})" for line in others)]
    if len(found) > _SHOWN:
        lines.append(f"    … all of them: snakemake diff --config env={environment.name}")
    unknown = [one for one in seen if one.unknown]
    if unknown:
        names = ", ".join(one.node.name for one in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        lines.append(f"  Which Talos runs is not known of {names}{more}: {unknown[0].unknown}")
    return lines
