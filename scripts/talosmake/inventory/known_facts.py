"""The facts that talosmake knows: keys of cluster.env and node.env that mean something to it.

What is said about each stands in config/schemas/facts.schema.yaml, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from talosmake.base.program import ROOT

# These come from the names of directories and from other facts, and cannot be given.
BUILT_IN = ("ENV", "NODE_NAME", "NODE_ROLE", "NODE_ENDPOINT_HOST")
SCHEMA = ROOT / "config/schemas/facts.schema.yaml"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Fact:
    """One fact, as its entry in the schema describes it.

    :ivar entry: the JSON schema of its value, with what is said of it in keys that begin with x-.
    """

    name: str
    entry: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What its value is: ``string``, ``boolean``, ``integer``, ``number`` or ``array``."""
        return str(self.entry.get("type", "string"))

    @property
    def default(self) -> Any:
        """The value that holds where it is not given; None where there is none."""
        return self.entry.get("default")

    @property
    def example(self) -> str:
        """A value as a person may write it; "" where there is none."""
        return str(next(iter(self.entry.get("examples", ())), ""))

    @property
    def format(self) -> str:
        """How its one form is made (:data:`talosmake.inventory.canonical.FORMS`); or ""."""
        return str(self.entry.get("format", ""))

    @property
    def is_required(self) -> bool:
        return bool(self.entry.get("x-required"))

    @property
    def may_be_empty(self) -> bool:
        """Whether it counts as not given where it has no value."""
        return bool(self.entry.get("x-empty"))

    @property
    def unit(self) -> str:
        return str(self.entry.get("x-unit", ""))

    @property
    def table(self) -> str:
        """The table of the documentation that it stands in."""
        return str(self.entry.get("x-table", ""))


@cache
def schema() -> dict[str, Any]:
    """Their JSON schema, with what each of them is for."""
    with SCHEMA.open(encoding="utf-8") as file:
        loaded: dict[str, Any] = yaml.load(file, Loader=_Loader)  # noqa: S506 - a safe loader
    return loaded


@cache
def facts() -> Mapping[str, Fact]:
    """All of them, by their names."""
    return {name: Fact(name, entry) for name, entry in schema()["properties"].items()}


@cache
def names() -> frozenset[str]:
    """Their names; further ones are a person's own, for patches."""
    return frozenset((*BUILT_IN, *facts()))


@cache
def required() -> tuple[Fact, ...]:
    """Those that every environment has to give."""
    return tuple(fact for fact in facts().values() if fact.is_required)


@cache
def of_a_node() -> frozenset[str]:
    """The names of those that count in node.env."""
    return frozenset(name for name, fact in facts().items() if fact.entry.get("x-node"))


@cache
def of_one_node() -> frozenset[str]:
    """The names of those that tell nodes apart, and so cannot be given for all of them."""
    return frozenset(name for name, fact in facts().items() if fact.entry.get("x-node") == "only")


@cache
def of_an_environment() -> frozenset[str]:
    """The names of those that count for a whole environment only."""
    return frozenset(facts()) - of_a_node()


@cache
def of_the_run() -> frozenset[str]:
    """The names of those that are part of no config, unless a plain patch names them."""
    return frozenset(name for name, fact in facts().items() if fact.entry.get("x-run"))
