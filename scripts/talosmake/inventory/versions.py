"""Which versions of Talos and Kubernetes the pinned talosctl knows.

An older talosctl takes a later contract without a word, and gives the defaults of its own: at the
next update all configs would change. It takes any version of Kubernetes, too. So what Git says is
held against ``config/schemas/talos.json``, which ``make versions`` asks of Talos's own Go modules
(tools/versions).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from talosmake.base.errors import InventoryError, PatchError, ToolError
from talosmake.base.program import ROOT
from talosmake.base.tools import TALOSCTL, numbers
from talosmake.patches import positions
from talosmake.patches.patch import Patch

TABLE = ROOT / "config/schemas/talos.json"
HOW = (
    "docs/versions.md says how another talosctl is pinned (tools/talosctl/go.mod, then make "
    "versions and make setup)."
)

Minor = tuple[int, ...]


@dataclass(frozen=True)
class Known:
    """What the pinned talosctl knows.

    :ivar talosctl: its version, e.g. ``1.13.0``.
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
def known() -> Known:
    """What the pinned talosctl knows.

    :raises ToolError: when the table was made for another one.
    """
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    if table["talosctl"] != TALOSCTL.pinned:
        raise ToolError(
            f"{TABLE}: was made for talosctl {table['talosctl']}, and {TALOSCTL.pinned} is pinned",
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


def minor(version: str) -> Minor:
    """The first two numbers of a version."""
    return numbers(version)[:2]


def _text(version: Minor) -> str:
    return ".".join(map(str, version))


def check(talos: str, contract: str, kubernetes: str, path: Path) -> None:
    """Refuse versions that the pinned talosctl does not know.

    :param talos: of Talos on the nodes, e.g. ``v1.13.0``.
    :param contract: e.g. ``v1.13``.
    :param kubernetes: e.g. ``1.36.0``.
    :param path: the file that they stand in.
    :raises InventoryError: with all that is wrong.
    """
    newest, pinned = _text(known().minor), f"the pinned talosctl {known().talosctl}"
    wrong = []
    if minor(talos) > known().minor:
        wrong.append(
            f"{path}: TALOS_VERSION={talos} is newer than what {pinned} knows, Talos up to {newest}"
        )
    if minor(contract) > known().minor:
        wrong.append(
            f"{path}: TALOS_CONTRACT={contract} is not known to {pinned}, which would give the "
            f"defaults of {newest}"
        )
    if wrong:
        raise InventoryError(
            "\n".join(wrong), hint=f"Stay at v{newest}, or raise talosctl first: {HOW}"
        )
    _check_kubernetes(talos, kubernetes, path)


def _check_kubernetes(talos: str, kubernetes: str, path: Path) -> None:
    if minor(talos) not in known().kubernetes:
        oldest = _text(min(known().kubernetes))
        raise InventoryError(
            f"{path}: TALOS_VERSION={talos} is older than the pinned talosctl {known().talosctl} "
            f"knows, which is from Talos {oldest} on",
            hint=f"Upgrade Talos, or pin an older talosctl: {HOW}",
        )
    oldest_one, newest_one = known().kubernetes[minor(talos)]
    if not oldest_one <= minor(kubernetes) <= newest_one:
        later = minor(kubernetes) > newest_one and minor(talos) == known().minor
        raise InventoryError(
            f"{path}: KUBERNETES_VERSION={kubernetes} does not go with TALOS_VERSION={talos}: "
            f"Talos {_text(minor(talos))} takes Kubernetes {_text(oldest_one)} to "
            f"{_text(newest_one)}",
            hint=f"Write one of these, or raise talosctl and Talos first: {HOW}"
            if later
            else "Write one of these.",
        )


def check_documents(layers: Sequence[Patch], talos: str) -> None:
    """Refuse documents, and fields of them, that the nodes' Talos does not know yet.

    talosctl does not see that: it knows all that its own version knows.

    :raises PatchError: with file and line, for all of them at once in a file.
    """
    later = {one: new for one, new in known().since.items() if one > minor(talos)}
    for patch in layers if later else ():
        lines = [
            f"{_place(patch, number, keys)}: {what} is new in Talos {_text(one)}, and the nodes "
            f"have TALOS_VERSION={talos}"
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


def unknown_kind(kind: str) -> str:
    """What to do about a document of a kind, or of an apiVersion, that talosctl does not know."""
    table = known()
    if kind in table.kinds:
        return f"talosctl {table.talosctl} knows {kind} by another apiVersion: v1alpha1."
    # Most end in Config, which makes none like another.
    names = {one.removesuffix("Config"): one for one in table.kinds}
    near = get_close_matches(kind.removesuffix("Config"), names, n=1, cutoff=0.8)
    meant = f" Did you mean {names[near[0]]}?" if near else ""
    return (
        f"The pinned talosctl {table.talosctl} knows no document of the kind {kind}.{meant}\n"
        f"If a later Talos has it: {HOW}"
    )
