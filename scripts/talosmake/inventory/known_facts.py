"""The facts that talosmake knows: keys of cluster.env and node.env that mean something to it."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from talosmake.base.program import ROOT

# These come from the names of directories and from other facts, and cannot be given.
BUILT_IN = ("ENV", "NODE_NAME", "NODE_ROLE", "NODE_ENDPOINT_HOST")
_SCHEMA = ROOT / "config/schemas/facts.schema.yaml"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def schema() -> dict[str, Any]:
    """Their JSON schema, with what each of them is for."""
    with _SCHEMA.open(encoding="utf-8") as file:
        loaded: dict[str, Any] = yaml.load(file, Loader=_Loader)  # noqa: S506 - a safe loader
    return loaded


def names() -> frozenset[str]:
    """Their names; further ones are a person's own, for patches."""
    return frozenset((*BUILT_IN, *schema()["properties"]))


@cache
def of_a_node() -> frozenset[str]:
    """The names of those that count in node.env."""
    facts = schema()["properties"].items()
    return frozenset(name for name, fact in facts if fact.get("x-node"))


@cache
def of_an_environment() -> frozenset[str]:
    """The names of those that count for a whole environment only."""
    return frozenset(schema()["properties"]) - of_a_node()


@cache
def of_the_run() -> frozenset[str]:
    """The names of those that are part of no config, unless a plain patch names them."""
    facts = schema()["properties"].items()
    return frozenset(name for name, fact in facts if fact.get("x-run"))
