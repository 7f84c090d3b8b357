"""The same question to many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_S = TypeVar("_S")
_T = TypeVar("_T")
_AT_ONCE = 16


def each(items: Iterable[_S], ask: Callable[[_S], _T]) -> list[_T]:
    """Ask about several at a time; answers in the order of the items."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, items))
