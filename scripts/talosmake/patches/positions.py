"""Where each key of a patch file stands, and how its value is written (pure).

Only messages need this, so the text is looked at a second time and only when there is something to
say; what is applied goes to talosctl as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from talosmake.patches.inject import MARK, marked

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_OVERRIDES = re.compile(r"(^|\s)#.*\boverrid", re.IGNORECASE)
_COMMENT = re.compile(r"\s*#")

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Position:
    """Where and how a key's value, or a list's item, is written.

    :ivar line: from 1; of the key where there is one.
    :ivar literal: no ``${NAME}`` is in it.
    :ivar null: it is YAML's null: ``null``, ``~`` or nothing.
    :ivar announced: a comment on its line, or right above, says that it overrides something.
    """

    line: int
    literal: bool
    null: bool
    announced: bool


@lru_cache(maxsize=256)
def of(text: str) -> Mapping[tuple[int, Keys], Position]:
    """The position of each key and item, by the document's number from 0 and the way there.

    Documents that say nothing are not counted, as in :class:`talosmake.patches.patch.Patch`.

    :param text: the file as it is written, before ``${NAME}`` is replaced. Nothing is found in
        text that is no YAML before that.
    """
    lines = text.splitlines()
    try:
        nodes = list(yaml.compose_all(marked(text), Loader=_Loader))
    except yaml.YAMLError:
        return {}
    found = {}
    for number, node in enumerate(node for node in nodes if not _says_nothing(node)):
        for keys, line, value in _walk(node, ()):
            found[number, keys] = Position(
                line=line + 1,
                literal=MARK not in str(getattr(value, "value", "")),
                null=value.tag == _NULL,
                announced=_announced(lines, line),
            )
    return found


def _says_nothing(node: yaml.Node | None) -> bool:
    if node is None or node.value in ([], "", "null", "~"):
        return True
    return node.tag == _NULL


def _walk(node: yaml.Node, keys: Keys) -> Iterator[tuple[Keys, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            way = (*keys, str(key.value))
            yield way, key.start_mark.line, value
            yield from _walk(value, way)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*keys, index), item.start_mark.line, item
            yield from _walk(item, (*keys, index))


def _announced(lines: list[str], line: int) -> bool:
    above = line - 1
    while above >= 0 and _COMMENT.match(lines[above]):
        above -= 1
    return any(_OVERRIDES.search(text) for text in lines[above + 1 : line + 1])
