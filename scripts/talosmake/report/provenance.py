"""Which layer set each value of a machine config (pure).

What a layer does is not worked out from its text but seen: the config without it and the config
with it are compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

Keys = tuple[str | int, ...]
Scalar = str | int | float | bool | None | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class Setting:
    """A value that a layer gave.

    :ivar layer: the layer's number, in the order they apply.
    :ivar value: a scalar, or an empty mapping or list.
    """

    layer: int
    value: Scalar


@dataclass(frozen=True)
class Leaf:
    """A value with all that set it, the last one in force."""

    history: tuple[Setting, ...]

    @property
    def value(self) -> Scalar:
        return self.history[-1].value


@dataclass(frozen=True)
class Mapped:
    """A mapping that is not empty."""

    items: Mapping[str, Tree]


@dataclass(frozen=True)
class Listed:
    """A list that is not empty."""

    items: tuple[Tree, ...]


Tree = Leaf | Mapped | Listed


def traced(stages: Sequence[Any]) -> Tree:
    """Trace every value of the last stage back to the layer that set it.

    :param stages: the parsed config after each layer, the base first; the same kind of value each.
    """
    tree: Tree | None = None
    for layer, stage in enumerate(stages):
        tree = _merged(tree, stage, layer)
    if tree is None:
        raise ValueError("no stage to trace")
    return tree


def _merged(old: Tree | None, value: Any, layer: int) -> Tree:
    """The tree of a value, with the history of what it was before the layer."""
    if isinstance(value, dict) and value:
        before = old.items if isinstance(old, Mapped) else {}
        return Mapped({k: _merged(before.get(k), item, layer) for k, item in value.items()})
    if isinstance(value, list) and value:
        before_items = old.items if isinstance(old, Listed) else ()
        partners = _partners([plain(item) for item in before_items], value)
        return Listed(
            tuple(
                _merged(None if partner is None else before_items[partner], item, layer)
                for item, partner in zip(value, partners, strict=True)
            )
        )
    if not isinstance(old, Leaf):
        return Leaf((Setting(layer, value),))
    same = old.value == value and type(old.value) is type(value)
    return old if same else replace(old, history=(*old.history, Setting(layer, value)))


def _partners(before: Sequence[Any], after: Sequence[Any]) -> list[int | None]:
    """For each item of a list, the one that it was before.

    Equal items belong together, in order; of what lies between them, mappings do in order, because
    Talos merges the items of some lists by a key.
    """
    partners: list[int | None] = [None] * len(after)
    matcher = SequenceMatcher(None, _hashable(before), _hashable(after), autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind not in ("equal", "replace"):
            continue
        for i, j in zip(range(i1, i2), range(j1, j2), strict=False):
            if kind == "equal" or (isinstance(before[i], dict) and isinstance(after[j], dict)):
                partners[j] = i
    return partners


def _hashable(items: Sequence[Any]) -> list[str]:
    return [json.dumps(item, sort_keys=True, default=str) for item in items]


def plain(tree: Tree) -> Any:
    """The value that a tree is of."""
    if isinstance(tree, Mapped):
        return {key: plain(item) for key, item in tree.items.items()}
    if isinstance(tree, Listed):
        return [plain(item) for item in tree.items]
    return tree.value


def leaves(tree: Tree, keys: Keys = ()) -> Iterator[tuple[Keys, Leaf]]:
    """Every value with the way to it."""
    if isinstance(tree, Leaf):
        yield keys, tree
    elif isinstance(tree, Mapped):
        for key, item in tree.items.items():
            yield from leaves(item, (*keys, key))
    else:
        for index, item in enumerate(tree.items):
            yield from leaves(item, (*keys, index))
