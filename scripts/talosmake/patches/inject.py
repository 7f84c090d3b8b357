"""``${NAME}`` injection: facts from cluster.env and node.env into patch text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from talosmake.base.errors import PatchError
from talosmake.patches import comments

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# Only ${UPPER_CASE} is looked at, so that shell, nginx and Helm text is left alone.
_PLACES = "cluster.env (for the environment) or node.env (for one node)"
# Stands in for a ``${NAME}``: a character of Unicode's private use, which YAML takes anywhere.
MARK = "\ue000"
REFERENCE = re.compile(r"(\$?)\$\{([A-Z][A-Z0-9_]*)\}")
_MARK_END = "\ue001"
_MARKED = re.compile(f"{MARK}([A-Z0-9_]+){_MARK_END}")


def inject(text: str, facts: Mapping[str, str], path: Path, *, where: str = "") -> str:
    """Replace each ``${NAME}`` in ``text`` by its fact; ``$${NAME}`` gives a literal ``${NAME}``.

    Values are put in as they are and not looked at again. Comments stay as they are.

    :param path: where the text comes from, for messages only.
    :param where: the only file that can set a name; "" for cluster.env and node.env.
    :raises PatchError: for names that no fact has, all of them at once, each with its line and
        the near misses; for values of which YAML would lose something where they stand, as they are
        empty or have a comment in them.
    """
    unknown: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match.group()[1:]
        if name not in facts:
            unknown.append(_unknown(text, match, facts, path))
            return ""
        return facts[name]

    result = _outside_comments(text, replaced)
    if unknown:
        raise PatchError(
            "\n".join(unknown),
            hint=f"Set the name in {where or _PLACES}; in the content of a file or a manifest, "
            "$${NAME} stands for a literal ${NAME}.",
        )
    lost = dict.fromkeys(_lost(text, facts))
    if lost:
        quoted = " and ".join(dict.fromkeys(f'"${{{name}}}"' for _, name, _ in lost))
        raise PatchError(
            "\n".join(f"{path}:{line}: ${{{name}}} {what}" for line, name, what in lost),
            hint=f"Put it in quotes, {quoted}, or set another value in {where or _PLACES}.",
        )
    return result


def marked(text: str) -> str:
    """The text with each ``${NAME}`` marked, so that YAML takes it for text wherever it stands."""
    return REFERENCE.sub(lambda found: found[2] if found[1] else _mark(found[2]), text)


def _mark(name: str) -> str:
    return f"{MARK}{name}{_MARK_END}"


def inject_known(text: str, facts: Mapping[str, str]) -> str:
    """As :func:`inject`, before all facts are known: other names stand there marked, as text."""

    def replaced(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        return match.group()[1:] if escaped else facts.get(name, _mark(name))

    return _outside_comments(text, replaced)


def names(text: str) -> frozenset[str]:
    """The facts that a text names, outside of comments."""
    found: set[str] = set()

    def noted(match: re.Match[str]) -> str:
        if not match[1]:
            found.add(match[2])
        return match[0]

    _outside_comments(text, noted)
    return frozenset(found)


def _outside_comments(text: str, replaced: Callable[[re.Match[str]], str]) -> str:
    """The text with each reference replaced that stands in no comment."""
    if not REFERENCE.search(text):
        return text
    # Of the same length as the text, and YAML wherever the text is with what it names.
    masked = REFERENCE.sub(lambda match: MARK * len(match[0]), text)
    inside = comments.spans(masked)

    def outside(match: re.Match[str]) -> str:
        place = bisect_right(inside, (match.start(), len(text)))
        commented = place > 0 and match.start() < inside[place - 1][1]
        return match[0] if commented else replaced(match)

    return REFERENCE.sub(outside, text)


def _lost(text: str, facts: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    """Lines and names of the facts of which YAML would lose something, and why it would."""
    unsafe = {name for name in names(text) if not facts[name].strip() or "#" in facts[name]}
    for token in _tokens(marked(text)) if unsafe else ():
        if not isinstance(token, yaml.ScalarToken) or not token.plain:
            continue
        value = _MARKED.sub(lambda match: facts[match[1]], token.value).rstrip()
        if value and _is_whole(value):
            continue
        for name in _MARKED.findall(token.value):
            if name in unsafe:
                what = "has a # that starts a comment there" if "#" in facts[name] else "is empty"
                yield token.start_mark.line + 1, name, what


def _is_whole(value: str) -> bool:
    """Whether no part of a value that stands in no quotes is a comment."""
    tokens = _tokens(value)
    ends = [one.end_mark.index for one in tokens if one.end_mark.index > one.start_mark.index]
    return not tokens or ends[-1:] == [len(value)]


def _tokens(text: str) -> list[yaml.Token]:
    """What YAML makes of a text; nothing where it cannot be read, which others tell of."""
    try:
        return list(yaml.scan(text, Loader=_Loader))
    except yaml.YAMLError:
        return []


def _unknown(text: str, match: re.Match[str], facts: Mapping[str, str], path: Path) -> str:
    line = text.count("\n", 0, match.start()) + 1
    near = get_close_matches(match[2], facts, n=3, cutoff=0.6)
    return f"{path}:{line}: ${{{match[2]}}} is not known" + (
        f"; did you mean {' or '.join(near)}?" if near else ""
    )
