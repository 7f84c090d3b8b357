"""Reading ``cluster.env`` and ``node.env``: ``KEY=value`` lines, never run by a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from talosmake.base.errors import InventoryError

NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def parse(text: str, path: Path) -> dict[str, str]:
    """Parse env-file text into facts, in the order they are written.

    Quotes, comments and ``export`` are read as python-dotenv reads them; nothing is expanded,
    so a value that names another fact is refused once all are known
    (:mod:`talosmake.patches.placeholders`).

    :param path: where the text comes from, for messages only.
    :raises InventoryError: for a line that is no ``KEY=value``, a name that is not UPPER_CASE,
        a value over several lines, or a name given twice.
    """
    facts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, binding in _bindings(text):
        name, value = _checked(binding, line, path)
        if name in facts:
            raise InventoryError(
                f"{path}:{line}: {name} is given twice (first in line {lines[name]})",
                hint="Keep one of the two lines.",
            )
        facts[name], lines[name] = value, line
    return facts


def place(path: Path, name: str) -> str:
    """Where a fact is given, for messages: ``FILE:LINE``, or the file where it does not give it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [line for line, binding in _bindings(text) if binding.key == name]
    return f"{path}:{lines[0]}" if lines else str(path)


def read(path: Path) -> dict[str, str]:
    """Read and :func:`parse` a file; a missing one holds no facts.

    :raises InventoryError: when it cannot be read or is not UTF-8.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{path}: cannot be read: {error}") from None


def _bindings(text: str) -> Iterator[tuple[int, Binding]]:
    """Each binding with the line it stands in; comments and empty lines are left out."""
    for binding in parse_stream(StringIO(text)):
        if binding.key is None and not binding.error:
            continue
        before = binding.original.string
        blank = before[: len(before) - len(before.lstrip())]
        yield binding.original.line + blank.count("\n"), binding


def _checked(binding: Binding, line: int, path: Path) -> tuple[str, str]:
    shown = binding.original.string.strip().split("=")[0].split("\n")[0]
    if binding.error or binding.key is None or binding.value is None:
        raise InventoryError(
            f"{path}:{line}: not a KEY=value line, near {shown!r}",
            hint="Write KEY=value, KEY='value' or KEY=\"value\"; comments start with #.",
        )
    if not NAME.fullmatch(binding.key):
        raise InventoryError(
            f"{path}:{line}: {binding.key!r} is no name for a fact",
            hint=f"Use capital letters, digits and underscores, e.g. {_suggested(binding.key)}.",
        )
    if "\n" in binding.value or "\r" in binding.value:
        raise InventoryError(
            f"{path}:{line}: the value of {binding.key} goes over several lines",
            hint="Close the quote in the same line; longer text belongs in a patch.",
        )
    return binding.key, binding.value


def _suggested(name: str) -> str:
    upper = re.sub(r"[^A-Z0-9_]", "_", name.upper()).lstrip("0123456789_")
    return upper or "MY_VALUE"
