"""Lint rules about what several layers of a node's config do to each other (pure).

talosctl does the merging. What is doubled or lost is read from the config that it made, and the
layers are only looked at to say which file it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from talosmake.base.redact import REDACTED
from talosmake.base.yamls import lookup
from talosmake.checks.finding import Entry, Finding, NodeView, at, leaves
from talosmake.inventory.model import Role
from talosmake.patches.positions import Keys

# Keys that tell the items of a list apart, for a path to them that does not hang on their order.
_NAMES = ("interface", "name", "vlanId", "mountPath")
_DELETE = "$patch"
# What Talos does not take for a value.
_NOTHING: tuple[object, ...] = ("", "~", "null", "Null", "NULL", [], {})

# Keys of mappings, and "[interface=eth0]" for items of lists.
_KeyPath = tuple[str, ...]


def doubled_item(view: NodeView) -> Iterator[Finding]:
    """A list has the same item twice, because two layers add it."""
    first: dict[tuple[tuple[str, str], _KeyPath, str], tuple[Entry, Keys]] = {}
    for entry in view.entries:
        for key_path, keys, items in _lists(entry.content):
            for index, item in enumerate(items):
                this = (entry.identity, key_path, _canonical(item))
                if this not in first:
                    first[this] = entry, (*keys, index)
                elif _count(view, this) > 1:
                    other, at = first[this]
                    shown = entry.shown(keys, _short(view, keys, item))
                    yield Finding(
                        entry.where(*keys, index),
                        f"{entry.label(keys)}: {shown} is added by {other.where(*at)} already; "
                        "Talos appends to lists, so it is there twice",
                        "Remove one of the two.",
                    )


def _lists(
    value: Any, key_path: _KeyPath = (), keys: Keys = ()
) -> Iterator[tuple[_KeyPath, Keys, list[Any]]]:
    """Every list in a document, with two ways there: by names, and by numbers."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _lists(item, (*key_path, str(key)), (*keys, str(key)))
    elif isinstance(value, list):
        yield key_path, keys, value
        for index, item in enumerate(value):
            if name := _name(item):
                yield from _lists(item, (*key_path, name), (*keys, index))


def _name(item: object) -> str:
    """What tells an item of a list from others, as a part of the path to it; "" for nothing."""
    key = next((key for key in _NAMES if isinstance(lookup(item, key), str)), None)
    return f"[{key}={lookup(item, key)}]" if key else ""


def _count(view: NodeView, wanted: tuple[tuple[str, str], _KeyPath, str]) -> int:
    """How often the rendered config has an item."""
    identity, key_path, item = wanted
    lists = _lists(view.config.get(identity, {}))
    return sum(
        _canonical(other) == item for at, _, items in lists if at == key_path for other in items
    )


def _canonical(item: object) -> str:
    return json.dumps(item, sort_keys=True)


def _short(view: NodeView, keys: Keys, item: object) -> str:
    """A value on one line, cut; what is secret in it is hidden before, while it is whole."""
    clear = _clear(view, keys, item)
    text = clear if isinstance(clear, str) else json.dumps(clear)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _clear(view: NodeView, keys: Keys, item: Any) -> Any:
    if isinstance(item, Mapping):
        return {key: _clear(view, (*keys, str(key)), one) for key, one in item.items()}
    if isinstance(item, list):
        return [_clear(view, (*keys, index), one) for index, one in enumerate(item)]
    return REDACTED if view.hides(keys, str(item)) else item


def silent_override(view: NodeView) -> Iterator[Finding]:
    """A later file sets a value that an earlier one has set already, both as literal text."""
    last: dict[tuple[tuple[str, str], Keys], tuple[Entry, Any]] = {}
    for entry in view.entries:
        for keys, value in leaves(entry.content):
            if value in _NOTHING or _DELETE in keys or any(isinstance(key, int) for key in keys):
                continue
            earlier, before = last.get((entry.identity, keys), (None, None))
            last[entry.identity, keys] = entry, value
            if earlier is None or before == value or earlier.layer is entry.layer:
                continue
            if _literal(earlier, keys) and _literal(entry, keys) and not _announced(entry, keys):
                old = earlier.shown(keys, _short(view, keys, before))
                new = entry.shown(keys, _short(view, keys, value))
                yield Finding(
                    entry.where(*keys),
                    f"{entry.label(keys)}: {new} takes the place of {old} in "
                    f"{earlier.where(*keys)}",
                    "If that is meant, say so in a comment there that starts with "
                    "'# overrides'; otherwise remove one of the two.",
                )


def _literal(entry: Entry, keys: Keys) -> bool:
    position = entry.position(*keys)
    return position is not None and position.literal


def _announced(entry: Entry, keys: Keys) -> bool:
    position = entry.position(*keys)
    return position is not None and position.announced


def partial_volume(view: NodeView) -> Iterator[Finding]:
    """A patch of a volume that leaves out what an earlier layer set, which wipes it."""
    for number, entry in enumerate(view.entries):
        kind, name = entry.identity
        if not kind.endswith("VolumeConfig") or _DELETE in entry.content:
            continue
        before = [other for other in view.entries[:number] if other.identity == entry.identity]
        own = {keys for keys, _ in leaves(entry.content)}
        lost = _lost(view, before, own)
        if lost:
            file = before[-1].layer.path
            yield Finding(
                entry.where("name"),
                f"{kind} {name}: does not name {', '.join(lost)}, which {file} sets; Talos takes "
                "away what a later patch of a volume leaves out",
                "Write the whole document in the later file.",
            )


def _lost(view: NodeView, before: Sequence[Entry], own: set[Keys]) -> list[str]:
    """The keys of earlier documents that are neither in the later one nor in the config."""
    if not before:
        return []
    there = view.config.get(before[0].identity, {})
    return [
        ".".join(str(key) for key in keys)
        for keys in dict.fromkeys(keys for entry in before for keys, _ in leaves(entry.content))
        if keys not in own and at(there, keys) is None
    ]


def absent_delete(view: NodeView) -> Iterator[Finding]:
    """``$patch: delete`` of a key that no earlier layer has set."""
    before: list[Entry] = []
    layer = None
    for entry in view.all_entries:
        if entry.layer is not layer:  # what the layer itself sets is not there yet
            layer, seen = entry.layer, list(before)
        before.append(entry)
        if entry.layer.generated:
            continue
        for keys, value in leaves(entry.content):
            if keys[-1:] != (_DELETE,) or value != "delete" or len(keys) == 1:
                continue
            key_path = keys[:-1]
            if any(isinstance(key, int) for key in key_path) or _is_there(
                view, entry, seen, key_path
            ):
                continue
            yield Finding(
                entry.where(*key_path),
                f"{entry.label(key_path)}: is deleted, but no earlier layer sets it",
                "Remove the patch, or correct the key; layers apply in the order that the README "
                f"gives.{_of_other_role(view, entry)}",
            )


def _of_other_role(view: NodeView, entry: Entry) -> str:
    """Where a file that both roles share may be meant for the other one."""
    if any(role.directory in entry.layer.path.parts for role in Role):
        return ""
    other = next(role for role in Role if role is not view.node.role).directory
    directory = view.environment.directory / other
    return f" If only {other.replace('_', ' ')} have it, move it to {directory / 'common.yaml'}."


def _is_there(view: NodeView, entry: Entry, before: Sequence[Entry], key_path: Keys) -> bool:
    earlier = [other.content for other in before if other.identity == entry.identity]
    if any(at(content, key_path) is not None for content in earlier):
        return True
    return at(view.base.get(entry.identity, {}), key_path) is not None
