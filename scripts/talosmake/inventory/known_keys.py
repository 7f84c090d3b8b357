"""The keys of config/config.yaml and ``--config``.

What is said about each stands in config/schemas/config.schema.yaml, and nowhere else.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from talosmake.base.program import ROOT

SCHEMA = ROOT / "config/schemas/config.schema.yaml"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def schema() -> dict[str, Any]:
    """Their JSON schema, with what each of them is for."""
    text = SCHEMA.read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    return content


def names() -> tuple[str, ...]:
    """Their names, in the schema's order."""
    return tuple(schema()["properties"])


def words(key: str) -> tuple[str, ...]:
    """The words that a key takes, as they stand on a command line; none where any text goes."""
    values = schema()["properties"].get(key, {}).get("enum", ())
    # `yes` and true are one to YAML; what is no text stands there for config.yaml.
    return tuple(value for value in values if isinstance(value, str))
