"""Where the comments of a YAML text stand (pure).

YAML itself tells: what no token covers is space and comments. In the text of an inline manifest,
``contents: |``, stands YAML again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_COMMENT = re.compile(r"#[^\n]*")
# A block's header has a comment only behind a space.
_HEADER_COMMENT = re.compile(r"[^\n#]*\s(#[^\n]*)")
_MANIFEST = "contents"

Span = tuple[int, int]


@lru_cache(maxsize=64)  # layers that nodes share
def spans(text: str) -> tuple[Span, ...]:
    """The start and end of each comment, in order; none in a text that is no YAML."""
    if "#" not in text:
        return ()
    try:
        tokens = list(yaml.scan(text, Loader=_Loader))
    except yaml.YAMLError:
        return ()
    return tuple(sorted(_found(text, tokens)))


def _found(text: str, tokens: list[yaml.Token]) -> Iterator[Span]:
    done, before = 0, ""
    for token in tokens:
        start, end = token.start_mark.index, token.end_mark.index
        if end <= start:
            continue
        yield from _matches(text, done, start)
        if isinstance(token, yaml.ScalarToken):
            if token.style in ("|", ">"):
                yield from _in_block(text, start, end, manifest=before == _MANIFEST)
            before = token.value
        done = max(done, end)
    yield from _matches(text, done, len(text))


def _matches(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _COMMENT.finditer(text, start, end):
        yield found.span()


def _in_block(text: str, start: int, end: int, *, manifest: bool) -> Iterator[Span]:
    header = _HEADER_COMMENT.match(text, start, end)
    if header:
        yield header.span(1)
    if manifest:
        yield from _in_manifest(text, text.find("\n", start, end) + 1, end)


def _in_manifest(text: str, start: int, end: int) -> Iterator[Span]:
    """The comments in lines that are all indented as far as the first one that says something."""
    lines = text[start:end].splitlines(keepends=True)
    first = next((line for line in lines if line.strip()), "")
    indent = len(first) - len(first.lstrip(" "))
    # Where each line starts without its indent, and how far that is from where it starts with it.
    moved: list[tuple[int, int]] = []
    at, plain = start, 0
    for line in lines:
        cut = min(indent, len(line) - len(line.lstrip(" ")))
        moved.append((plain, at + cut - plain))
        at, plain = at + len(line), plain + len(line) - cut
    dedented = "".join(line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines)
    for begin, stop in spans(dedented):
        shift = next(by for where, by in reversed(moved) if where <= begin)
        yield begin + shift, stop + shift
