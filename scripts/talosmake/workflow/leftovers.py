"""What is left of nodes that are no longer in Git, and of runs that were killed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from talosmake.base import files
from talosmake.base.errors import NodeError
from talosmake.base.progress import say, warn
from talosmake.inventory import named
from talosmake.inventory.model import Environment, Node, Role
from talosmake.inventory.removed import removed_nodes

_SUFFIXES = (
    ".yaml",
    ".vm",
    ".validated",
    ".lint",
    ".applied",
    ".machine",
    ".talos",
    ".waits",
    ".reboot",
)


def leftovers(environment: Environment) -> list[Path]:
    """Rendered configs and markers of nodes that are no longer in Git."""
    known = {node.config_name for node in environment.nodes}
    prefixes = tuple(f"{role}-" for role in Role)
    paths = environment.paths
    return sorted(
        path
        for directory in (paths.root, paths.state, paths.applied_configs, paths.explanations)
        if directory.is_dir()
        for path in directory.iterdir()
        if path.suffix in _SUFFIXES
        and path.name.lstrip(".").startswith(prefixes)
        and path.stem.lstrip(".") not in known
    )


def remove_temporary_files(environment: Environment) -> None:
    """Remove the files that killed runs were writing; those of runs at work stay.

    :raises OSError: when one cannot be removed.
    """
    for directory in (environment.paths.root, environment.paths.state):
        files.remove_leftovers_in(directory)


def warn_of_leftovers(environment: Environment) -> None:
    """Name the nodes that were removed from Git, and how to let them go."""
    left = leftovers(environment)
    if not left:
        return
    names = ", ".join(sorted({path.stem.lstrip(".") for path in left}))
    removed = removed_nodes(environment)
    lines = [f"  -> {_reset_first(environment, node)}" for node in removed]
    if any(not _is_of(path, removed) for path in left):
        lines.append(
            f"  -> remove what is left here:  snakemake prune --config env={environment.name}"
        )
    warn(
        f"{environment.name}: no longer in Git, but still here: {names}. They are not touched.\n"
        + "\n".join(lines)
    )


def _reset_first(environment: Environment, node: Node) -> str:
    name = named.short(node, [*environment.nodes, *removed_nodes(environment)])
    return (
        f"the machine of {name} still has its config; reset it first:  snakemake reset --config "
        f"env={environment.name} node={name} confirm={name}"
    )


def _is_of(path: Path, nodes: Iterable[Node]) -> bool:
    """Whether a leftover belongs to one of these nodes."""
    return path.stem.lstrip(".") in {node.config_name for node in nodes}


def prune(environment: Environment, confirm: str = "") -> None:
    """Remove the rendered configs and markers of nodes that are no longer in Git.

    What is known of a machine that may still have a node's config is kept: nobody else knows it.

    :param confirm: the node whose machine is gone for good, or has been wiped otherwise.
    :raises NodeError: when machines may still have their configs; all else is removed.
    :raises ConfigError: when no node that was removed from Git has the name in ``confirm``.
    """
    removed = removed_nodes(environment)
    gone = [named.one(environment, removed, confirm)] if confirm else []
    kept = [node for node in removed if node not in gone]
    left = [path for path in leftovers(environment) if not _is_of(path, kept)]
    for path in left:
        path.unlink()
        say(f"removed {path}")
    if kept:
        name = named.short(kept[0], [*environment.nodes, *removed])
        raise NodeError(
            f"{environment.name}: not forgotten, as their machines were sent the cluster's "
            f"secrets: {', '.join(node.config_name for node in kept)}",
            hint="\n".join(_reset_first(environment, node) for node in kept)
            + "\nA machine that is gone for good is forgotten by:  snakemake prune --config "
            f"env={environment.name} confirm={name}",
        )
    if not left:
        say(f"{environment.name}: nothing is left over")
