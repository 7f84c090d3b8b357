"""Layered values in one, by jsonmerge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonmerge import Merger

_merger = Merger({"mergeStrategy": "objectMerge"})


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Facts, or other keys and values, of several layers in one: mappings merge, later ones win."""
    result: Any = {}
    for layer in layers:
        result = _merger.merge(_giving_way(result, layer), dict(layer))
    return dict(result)


def _giving_way(base: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    """The base without single values and lists that a mapping replaces, which jsonmerge refuses."""
    kept = {}
    for key, value in base.items():
        new = head.get(key)
        if not isinstance(new, Mapping):
            kept[key] = value
        elif isinstance(value, Mapping):
            kept[key] = _giving_way(value, new)
    return kept
