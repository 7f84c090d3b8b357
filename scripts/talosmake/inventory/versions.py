"""Which versions of Talos and Kubernetes the pinned talosctl know.

An older talosctl takes a later contract without a word, and gives the defaults of its own: at the
next update all configs would change. It takes any version of Kubernetes, too. So what Git says is
held against ``config/schemas/talos.json``, which ``make versions`` asks of Talos's own Go modules
(tools/versions), for each minor version that a talosctl is pinned for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from talosmake.base import talosctls
from talosmake.base.errors import InventoryError, PatchError, ToolError
from talosmake.base.program import ROOT
from talosmake.base.talosctls import Minor, minor
from talosmake.patches import positions
from talosmake.patches.patch import Patch

TABLE = ROOT / "config/schemas/talos.json"
HOW = "docs/versions.md says how the talosctl of another minor version is added."


@dataclass(frozen=True)
class Known:
    """What the talosctl that is pinned for a minor version of Talos knows.

    :ivar talosctl: its version, e.g. ``1.13.9``.
    :ivar kubernetes: the oldest and the newest minor version of Kubernetes of each minor version of
        Talos.
    :ivar since: of each minor version of Talos the kinds of documents that are new in it, and new
        fields of others, with ``*`` for keys of one's own; "" is the document of machine and
        cluster.
    :ivar kinds: all kinds of documents that it knows.
    """

    talosctl: str
    kubernetes: dict[Minor, tuple[Minor, Minor]]
    since: dict[Minor, dict[str, list[str]]]
    kinds: tuple[str, ...]

    @property
    def minor(self) -> Minor:
        return minor(self.talosctl)


@cache
def known(serves: Minor) -> Known:
    """What the talosctl knows that is pinned for a minor version of Talos.

    :raises ToolError: when the table was made for another one.
    """
    name, pinned = talosctls.text(serves), talosctls.pinned(serves).pinned
    table = _tables().get(name, {"talosctl": "of no version"})
    if table["talosctl"] != pinned:
        raise ToolError(
            f"{TABLE}: was made for talosctl {table['talosctl']}, and {pinned} is pinned for Talos "
            f"{name}",
            hint="Run:  make versions",
        )
    return Known(
        table["talosctl"],
        {
            minor(talos): (minor(one["oldest"]), minor(one["newest"]))
            for talos, one in table["kubernetes"].items()
        },
        {minor(talos): new for talos, new in table["since"].items()},
        tuple(table["kinds"]),
    )


@cache
def _tables() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return loaded


def _pinned() -> str:
    """For which Talos there is a talosctl: ``1.12, 1.13 and 1.14``."""
    *others, last = map(talosctls.text, talosctls.minors())
    return f"{', '.join(others)} and {last}" if others else last


def check(talos: str, kubernetes: str, path: Path, talosctl: str = "") -> None:
    """Refuse versions that no pinned talosctl knows, or that do not go together.

    :param talos: of Talos on the nodes, e.g. ``v1.13.0``.
    :param kubernetes: e.g. ``1.36.0``.
    :param path: the file that they stand in.
    :param talosctl: ``TALOSCTL_VERSION`` without a leading v, or "".
    :raises InventoryError: with what is wrong.
    """
    serves = talosctls.serving(talos)
    if serves is None or minor(talos) not in known(serves).kubernetes:
        age = "newer" if serves is None else "older"
        raise InventoryError(
            f"{path}: TALOS_VERSION={talos} is {age} than what any talosctl here knows: they are "
            f"pinned for Talos {_pinned()}",
            hint=f"Write a version of one of these. {HOW}",
        )
    if talosctl:
        _check_talosctl(talosctl, serves, path)
    _check_kubernetes(known(serves), talos, kubernetes, path)


def _check_talosctl(talosctl: str, serves: Minor, path: Path) -> None:
    """What renders and what validates has to know the same as the pinned one of its minor."""
    if minor(talosctl) != serves:
        name = talosctls.text(serves)
        raise InventoryError(
            f"{path}: TALOSCTL_VERSION={talosctl} is no talosctl {name}, and that serves this "
            "TALOS_VERSION",
            hint=f"Write another patch version of {name}, or remove the line: then it is "
            f"{known(serves).talosctl}.",
        )


def _check_kubernetes(table: Known, talos: str, kubernetes: str, path: Path) -> None:
    oldest, newest = table.kubernetes[minor(talos)]
    if oldest <= minor(kubernetes) <= newest:
        return
    upgrade = _first_with(kubernetes) if minor(kubernetes) > newest else None
    later = f" Talos {talosctls.text(upgrade)} is the first that takes it." if upgrade else ""
    raise InventoryError(
        f"{path}: KUBERNETES_VERSION={kubernetes} does not go with TALOS_VERSION={talos}: "
        f"Talos {talosctls.text(minor(talos))} takes Kubernetes {talosctls.text(oldest)} to "
        f"{talosctls.text(newest)}",
        hint=f"Write one of these.{later}",
    )


def _first_with(kubernetes: str) -> Minor | None:
    """The first Talos that takes a Kubernetes, of those that a talosctl is pinned for."""
    taken = (
        one for one in talosctls.minors() if minor(kubernetes) <= known(one).kubernetes[one][1]
    )
    return next(taken, None)


def check_documents(layers: Sequence[Patch], talos: str) -> None:
    """Refuse documents, and fields of them, that the nodes' Talos does not know yet.

    talosctl tells no line, and one that serves an older Talos does not see it at all.

    :raises PatchError: with file and line, for all of them at once in a file.
    """
    table = known(talosctls.minors()[-1])
    later = {one: new for one, new in table.since.items() if one > minor(talos)}
    for patch in layers if later else ():
        lines = [
            f"{_place(patch, number, keys)}: {what} is new in Talos {talosctls.text(one)}, and the "
            f"nodes have TALOS_VERSION={talos}"
            for number, document in enumerate(patch.documents)
            for one, new in later.items()
            for keys, what in _unknown(document, new)
        ]
        if lines:
            raise PatchError(
                "\n".join(lines),
                hint="Write it in the way that this Talos knows (its documentation says how), or "
                "upgrade Talos first: TALOS_VERSION in cluster.env.",
            )


def _unknown(
    document: dict[str, Any], new: dict[str, list[str]]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The way to each part of a document that is new, and what it is called."""
    kind = str(document.get("kind", ""))
    if kind not in new:
        return
    if kind and not new[kind]:
        yield ("kind",), f"the document {kind}"
    for field in new[kind]:
        for keys in _ways(document, tuple(field.split(".")), ()):
            yield keys, f"{kind}: {field}" if kind else field


def _ways(
    value: Any, field: tuple[str, ...], keys: tuple[str | int, ...]
) -> Iterator[tuple[str | int, ...]]:
    """The ways to a field in a document; lists and keys of one's own stand in between."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _ways(item, field, (*keys, index))
    elif not field:
        yield keys
    elif isinstance(value, dict):
        for key, item in value.items():
            if field[0] in ("*", key):
                yield from _ways(item, field[1:], (*keys, key))


def _place(patch: Patch, number: int, keys: tuple[str | int, ...]) -> str:
    # Lines of encrypted files are not those that one edits.
    position = None if patch.secret else positions.of(patch.text).get((number, keys))
    return f"{patch.path}:{position.line}" if position else str(patch.path)


def unknown_kind(kind: str, talosctl: str) -> str:
    """What to do about a document of a kind, or of an apiVersion, that talosctl does not know.

    :param talosctl: its version.
    """
    table = known(minor(talosctl))
    if kind in table.kinds:
        return f"talosctl {talosctl} knows {kind} by another apiVersion: v1alpha1."
    # Most end in Config, which makes none like another.
    names = {one.removesuffix("Config"): one for one in table.kinds}
    near = get_close_matches(kind.removesuffix("Config"), names, n=1, cutoff=0.8)
    meant = f" Did you mean {names[near[0]]}?" if near else ""
    return (
        f"talosctl {talosctl} knows no document of the kind {kind}.{meant}\n"
        f"If a later Talos has it: {HOW}"
    )
