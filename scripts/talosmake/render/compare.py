"""Two configs as they may be shown, compared."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from talosmake.patches import positions
from talosmake.render import disclosure
from talosmake.render.disclosure import Config, Document

_CONTEXT = 3


def unified(old: Config, new: Config) -> list[str]:
    """A unified diff of two configs that may be shown, document by document."""
    found: list[str] = []
    for document in sorted({*old, *new}):
        texts = [
            disclosure.text_of(config[document]) if document in config else ""
            for config in (old, new)
        ]
        found += _hunks(document, *texts)
    return found


def _hunks(document: Document, old: str, new: str) -> Iterator[str]:
    before, after = old.splitlines(), new.splitlines()
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        (_, i1, _, j1, _), (_, _, i2, _, j2) = group[0], group[-1]
        kind, i, _, j, _ = next(one for one in group if one[0] != "equal")
        where = _above(document, new, j) if kind == "insert" else _above(document, old, i)
        yield f"@@ -{_range(i1, i2)} +{_range(j1, j2)} @@ {where}".rstrip()
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                yield from (f" {line}" for line in before[i1:i2])
                continue
            yield from (f"-{line}" for line in before[i1:i2])
            yield from (f"+{line}" for line in after[j1:j2])


def _range(start: int, stop: int) -> str:
    return f"{start + (stop > start)},{stop - start}"


def _above(document: Document, text: str, line: int) -> str:
    """The keys above a line, e.g. ``machine.sysctls`` or ``HostnameConfig``."""
    ways = [
        (position.line, len(keys), keys)
        for (_, keys), position in positions.of(text).items()
        if position.line <= line + 1
    ]
    keys = max(ways)[2][:-1] if ways else ()
    dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return " ".join(part for part in (*document, dotted.removeprefix(".")) if part)
