"""Promote: what one environment's machine configs have that another's lack."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from talosmake.inventory.model import Environment, Node, Role
from talosmake.patches import layout
from talosmake.render import disclosure
from talosmake.render.compare import unified
from talosmake.render.disclosure import Config, Document
from talosmake.render.layers import NodeLayers

_ADDRESS = "<address>"
_MAC = "<mac>"
# Facts that name something, whatever they look like.
_NAMES = ("CLUSTER_ENDPOINT", "CLUSTER_NAME", "NODE_HOSTNAME", "NODE_NAME", "ENV")
_IP = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]*)(?:/\d{1,3})?(?![\w:])"
)
_MAC_ADDRESS = re.compile(r"(?<![\w:])[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}(?![\w:])")
# Addresses that say the same everywhere.
_GENERAL = [ipaddress.ip_address(text) for text in ("0.0.0.0", "127.0.0.1", "::", "::1")]  # noqa: S104
# Where subnets are a choice that environments should share.
_SHARED = (layout.Place("", ("cluster", "network")), layout.Place("KubeNetworkConfig"))


def pairs(source: Environment, target: Environment) -> list[tuple[Node | None, Node | None]]:
    """Which nodes to compare: those of one name and role, then the others of a role in order."""
    found: list[tuple[Node | None, Node | None]] = []
    for role in Role:
        ours, theirs = (
            {node.name: node for node in environment.nodes if node.role is role}
            for environment in (source, target)
        )
        found += [(ours[name], theirs[name]) for name in ours if name in theirs]
        found += zip_longest(
            (node for name, node in ours.items() if name not in theirs),
            (node for name, node in theirs.items() if name not in ours),
        )
    return found


def masked(config: Config, facts: Mapping[str, str]) -> Config:
    """The config with names and addresses of its environment replaced.

    What comes from a fact is written as ``${NAME}``, other addresses as ``<address>``. Facts that
    are neither a name nor an address, such as versions, are left: they are what should be seen.
    """
    names = {
        value: f"${{{name}}}"
        for name, value in sorted(facts.items(), reverse=True)
        if value and (name in _NAMES or _is_address(value))
    }
    # The longest first: one may be a part of another. `/dev/` is no environment.
    ways = "|".join(re.escape(value) for value in sorted(names, key=len, reverse=True))
    fact = re.compile(rf"(?<![\w./-])(?:{ways})(?!\w|\.\w|/\D)|(?!)")

    def mask(value: Any, keys: tuple[str, ...], kind: str = "") -> Any:
        if isinstance(value, dict):
            return {key: mask(item, (*keys, key), kind) for key, item in value.items()}
        if isinstance(value, list):
            return [mask(item, keys, kind) for item in value]
        text = fact.sub(lambda match: names[match[0]], value)
        text = _MAC_ADDRESS.sub(_MAC, text)
        return text if _is_shared(kind, keys) else _IP.sub(_address, text)

    found: dict[Document, Any] = {}
    for (kind, name), content in config.items():
        document = (kind, mask(name, ()))
        found[(kind, name) if document in found else document] = mask(content, (), kind)
    return found


def _is_shared(kind: str, keys: tuple[str, ...]) -> bool:
    return any(kind == one.kind and keys[: len(one.keys)] == one.keys for one in _SHARED)


def _is_address(value: str) -> bool:
    """Whether a fact is an address, or a list or URL with one: what no two environments share."""
    return bool(_MAC_ADDRESS.search(value)) or any(
        _address(match) == _ADDRESS for match in _IP.finditer(value)
    )


def _address(match: re.Match[str]) -> str:
    try:
        interface = ipaddress.ip_interface(match[0])
    except ValueError:
        return match[0]
    return match[0] if interface.ip in _GENERAL else _ADDRESS


def differences(source: Environment, target: Environment) -> dict[tuple[str, ...], list[str]]:
    """For each difference between paired nodes, the pairs that have it.

    :returns: diffs from ``target`` to ``source``, secrets redacted, and which nodes have them.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for ours, theirs in pairs(source, target):
        if ours and theirs:
            lines = unified(_shown(target, theirs), _shown(source, ours))
            name = ours.name if ours.name == theirs.name else f"{ours.name} and {theirs.name}"
            found.setdefault((theirs.role, *lines), []).append(name)
    return found


def _shown(environment: Environment, node: Node) -> Config:
    config = disclosure.parsed(environment.paths.config(node).read_bytes())
    secrets = disclosure.secrets_of(NodeLayers(environment, node))
    return masked(disclosure.redacted(config, secrets.hides), node.facts)


def report(source: Environment, target: Environment) -> str:
    """What promoting would change in the target, and which nodes only one of them has."""
    lines = [
        f"{source.name} -> {target.name}: what {target.name} lacks is marked +, what only it has "
        "-; names and addresses are masked, secrets redacted"
    ]
    found = differences(source, target)
    for (role, *hunks), names in found.items():
        said = ":" if hunks else ": no difference"
        lines.append(f"{Role(role).directory.replace('_', ' ')} {', '.join(names)}{said}")
        if hunks:
            lines += [f"--- {target.name} {role}", f"+++ {source.name} {role}", *hunks]
    lines += _only(source, [ours for ours, theirs in pairs(source, target) if not theirs])
    lines += _only(target, [theirs for ours, theirs in pairs(source, target) if not ours])
    return "\n".join(lines)


def _only(environment: Environment, nodes: Sequence[Node | None]) -> list[str]:
    names = [node.name for node in nodes if node]
    return [f"only in {environment.name}: {', '.join(names)}"] if names else []


def show(source: Environment, target: Environment) -> None:
    """The target ``promote``: print :func:`report`."""
    print(report(source, target))
