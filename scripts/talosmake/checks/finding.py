"""Lint: what a finding is, what rules look at, and how findings are shown (pure).

The rules are in ``value_rules``, ``layer_rules`` and others of such names, and ``lint_rules`` lists
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from talosmake.base.errors import TalosmakeError
from talosmake.base.yamls import lookup
from talosmake.inventory.elsewhere import Clash
from talosmake.inventory.model import Environment, Node, natural
from talosmake.patches.positions import Keys, Position
from talosmake.render import disclosure
from talosmake.render.layers import Layer

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake, as it is shown.

    :ivar rule: the name of the rule that found it, which whoever runs the rule fills in.
    :ivar where: a file, with its line where there is one.
    :ivar what: what is wrong; the same text for all nodes that it is wrong for.
    :ivar do: what to do about it.
    :ivar nodes: the names of the nodes it was found for; none where it is about the environment.
    """

    where: str
    what: str
    do: str
    rule: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One document of a layer, with what it is called in messages."""

    layer: Layer
    number: int
    content: Mapping[str, Any]

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from other documents of a config: its kind and its name."""
        return str(self.content.get("kind", "")), str(self.content.get("name", ""))

    def where(self, *keys: str | int) -> str:
        return self.layer.where(self.number, keys)

    def position(self, *keys: str | int) -> Position | None:
        return self.layer.position(self.number, keys)

    def shown(self, keys: Keys, value: object) -> str:
        """A value for a message, unless it may be secret."""
        return disclosure.shown(self.layer, keys, value)

    def label(self, keys: Iterable[str | int]) -> str:
        """A key as messages name it, e.g. ``machine.install.disk`` or ``LinkConfig net0: mtu``."""
        dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)[1:]
        kind, name = self.identity
        document = " ".join(part for part in (kind, name and self.shown(("name",), name)) if part)
        return ": ".join(part for part in (document, dotted) if part)


@dataclass(frozen=True)
class NodeView:
    """What can be known about one node.

    :ivar layers: what its config is made of, later ones win.
    :ivar read_config: reads its rendered config; only called where a rule needs it.
    :ivar read_base: generates the config without any layer; only called where a rule needs it.
    :ivar read_cilium: reads Cilium's values; only called where a rule needs it.
    :ivar warnings: what ``talosctl validate`` warned of.
    :ivar read_secrets: reads what is secret in its config; only called where a finding shows
        something.
    """

    environment: Environment
    node: Node
    layers: Sequence[Layer]
    read_config: Callable[[], bytes] = field(default=bytes, compare=False)
    read_base: Callable[[], bytes] = field(default=bytes, compare=False)
    warnings: str = ""
    read_cilium: Callable[[], Mapping[str, Any]] = field(default=dict, compare=False)
    read_secrets: Callable[[], disclosure.Secrets] = field(
        default=lambda: disclosure.secrets_in([], []), compare=False
    )

    @cached_property
    def secrets(self) -> disclosure.Secrets:
        """What is secret in its config, wherever it stands.

        :raises TalosmakeError: as :func:`talosmake.render.disclosure.secrets_of`.
        """
        return self.read_secrets()

    def hides(self, keys: Sequence[object], value: str) -> bool:
        """Whether a value is secret as a whole; all are where nobody knows.

        For values that are cut or put together for a message, in which no secret is found again.
        """
        try:
            return self.secrets.hides_value(keys, value)
        except TalosmakeError:
            return True

    @cached_property
    def all_entries(self) -> list[Entry]:
        """The documents of all layers."""
        return [
            Entry(layer, number, document)
            for layer in self.layers
            for number, document in enumerate(layer.patch.documents)
        ]

    @cached_property
    def entries(self) -> list[Entry]:
        """The documents that somebody wrote."""
        return [entry for entry in self.all_entries if not entry.layer.generated]

    @cached_property
    def machine(self) -> list[Entry]:
        """Those of ``machine`` and ``cluster``."""
        return [entry for entry in self.entries if "kind" not in entry.content]

    @cached_property
    def config(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The documents of the rendered config, by kind and name."""
        return by_identity(self.read_config())

    @cached_property
    def base(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The documents of the config without layers, by kind and name."""
        return by_identity(self.read_base())


@dataclass(frozen=True)
class EnvironmentView:
    """What can be known about an environment as a whole.

    :ivar control_planes: its control planes.
    :ivar sops_rules: the text of .sops.yaml; "" without one.
    :ivar encrypted: the environment's encrypted files, bundle included, as they are on disk.
    :ivar other_bundles: the own bundles of all other environments, as they are on disk.
    :ivar clashes: what it has in common with other environments, and must not.
    :ivar read_used: reads which facts patches and Cilium's files use; only called where a rule
        needs it.
    """

    environment: Environment
    control_planes: Sequence[NodeView] = ()
    sops_rules: str = ""
    encrypted: Mapping[Path, str] = field(default_factory=dict)
    other_bundles: Mapping[Path, str] = field(default_factory=dict)
    clashes: Sequence[Clash] = ()
    read_used: Callable[[], frozenset[str]] = field(default=frozenset, compare=False)


def by_identity(config: bytes) -> dict[tuple[str, str], dict[str, Any]]:
    """The documents of a machine config, every scalar as it is written."""
    documents = yaml.load_all(config, Loader=_Loader)
    return {
        (str(document.get("kind", "")), str(document.get("name", ""))): document
        for document in documents
        if isinstance(document, dict)
    }


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every value that is no mapping and no list, with the way there; empty ones count."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*keys, str(key)))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*keys, index))
    else:
        yield keys, value


def at(value: Any, keys: Keys) -> Any:
    """The value below ``keys``, list indexes included; None where the way there ends."""
    for key in keys:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and key < len(value) else None
        else:
            value = lookup(value, key)
    return value


def joined(findings: Iterable[Finding], off: Iterable[str]) -> list[Finding]:
    """Findings in order, each once with all its nodes; without the rules that are ``off``."""
    nodes: dict[Finding, list[str]] = {}
    for finding in findings:
        if finding.rule not in off:
            of_it = nodes.setdefault(replace(finding, nodes=()), [])
            of_it += [name for name in finding.nodes if name not in of_it]
    return sorted(
        (replace(finding, nodes=tuple(of_it)) for finding, of_it in nodes.items()),
        key=lambda finding: (natural(finding.where), finding),
    )


def report(environment: Environment, findings: Sequence[Finding]) -> str:
    """Findings as a person reads them."""
    count = len(findings)
    if not count:
        return f"{environment.name}: no lint findings"
    lines = [f"{environment.name}: {count} lint finding{'s' * (count != 1)}:"]
    for finding in findings:
        lines += [
            f"  {finding.where}: {finding.what}{_for(environment, finding)} [{finding.rule}]",
            f"    -> {finding.do}",
        ]
    lines.append(
        "  What a rule means: docs/lint.md. To switch one off here, with a comment that says why: "
        f'LINT_OFF="{findings[0].rule}" in {environment.env_file}'
    )
    return "\n".join(lines)


def _for(environment: Environment, finding: Finding) -> str:
    """Which nodes it is about, unless that is plain."""
    names = finding.nodes
    if not names or (len(names) == 1 and f"/{names[0]}/" in finding.where):
        return ""
    if len(names) == len(environment.nodes):
        return " (all nodes)"
    few = ", ".join(names[:3])
    return f" ({few})" if len(names) <= 3 else f" ({few} and {len(names) - 3} more)"
