"""Keeping secrets out of messages (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

REDACTED = "<redacted>"

# Shorter values are too common to be taken out of a text ("true", "443").
_SHORTEST = 6


# Keys whose values no message shows, wherever they stand.
_SECRET_KEY = re.compile(r"secret|token|passw|passphrase|auth|key$|keys$|crt$", re.IGNORECASE)


def secret_key(keys: Iterable[object]) -> bool:
    """Whether the way to a value says that it is secret."""
    return any(isinstance(key, str) and _SECRET_KEY.search(key) for key in keys)


def scalars(value: Any) -> Iterator[str]:
    """Every scalar below ``value``, as text."""
    if isinstance(value, dict):
        for item in value.values():
            yield from scalars(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from scalars(item)
    elif value is not None:
        yield str(value)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in ``text``, whole or cut short as tools quote it (``abcdef...``)."""
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
        text = text.replace(f"{secret[: _SHORTEST + 1]}...", REDACTED)
    return text


def without_quotes(text: str) -> str:
    """The first line of a tool's message, with what stands in quotes taken out.

    For messages about text that is secret as a whole, from which only the kind of fault may show.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    return re.sub(r"`[^`]*`|\"(?:\\.|[^\"\\])*\"", REDACTED, lines[0]) if lines else ""
