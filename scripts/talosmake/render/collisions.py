"""A field of v1alpha1 beside the document of the same thing, which Talos refuses (pure).

``talosctl gen config`` puts both into a config, and ``talosctl validate`` refuses it without saying
where either comes from: "kubelet config is already set in v1alpha1 config (.machine.kubelet)".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talosmake.base.errors import PatchError
from talosmake.base.yamls import lookup
from talosmake.patches import layout, positions
from talosmake.patches.patch import Patch
from talosmake.patches.positions import Keys

# What is not there to Talos; an empty mapping is.
_NOTHING: tuple[object, ...] = (None, "", [])
# What no config of an older contract has by itself, and whose document its Talos knows already, so
# that either may stay.
_EITHER = frozenset(("machine.network.nameservers", "machine.network.searchDomains"))
_ALL = (
    "\npatches/common.yaml reaches environments of other contracts, too: what they write in another"
    "\nway belongs into each environment's own common.yaml."
)


@dataclass(frozen=True)
class Collision:
    """One meaning that a config has twice.

    :ivar kind: of the document that has it.
    :ivar keys: the way to the field of v1alpha1 that has it, too.
    """

    kind: str
    keys: tuple[str, ...]

    @property
    def field(self) -> str:
        return ".".join(self.keys)


def of_config(documents: Iterable[Any]) -> list[Collision]:
    """What a machine config has in both layouts.

    :param documents: of the whole config.
    """
    by_kind = {layout.kind_of(document): document for document in documents}
    main = by_kind.get("", {})
    found = []
    for document, fields in layout.COLLISIONS.items():
        kind, _, key = document.partition(" ")
        if kind in by_kind and (not key or lookup(by_kind[kind], key)):
            ways = (tuple(field.split(".")) for field in fields)
            found += [Collision(kind, way) for way in ways if lookup(main, *way) not in _NOTHING]
    return found


def refused(
    found: Sequence[Collision],
    layers: Sequence[Patch],
    contract: tuple[int, int],
    node: str,
    env_file: str,
) -> PatchError:
    """The error for what a config has in both layouts, with the patch lines that bring it.

    :param found: at least one.
    :param layers: the node's patches.
    :param node: the node, with its environment.
    :param env_file: where TALOS_CONTRACT stands.
    """
    lines = [line for one in found for line in _lines(one, layers, contract, node)]
    kinds = ", ".join(dict.fromkeys(one.kind for one in found))
    fields = ", ".join(dict.fromkeys(one.field for one in found))
    version = f"v{contract[0]}.{contract[1]}"
    if contract >= layout.DOCUMENTS:
        hint = f"Write it into the document instead ({kinds}), or stay at an older TALOS_CONTRACT "
        hint += f"than {version}, in {env_file}."
    elif _EITHER.issuperset(one.field for one in found):
        hint = f"Write it in one of the two alone: in machine and cluster, or in {kinds}."
    else:
        hint = f"Write it in machine and cluster instead ({fields}), or raise TALOS_CONTRACT in "
        hint += f"{env_file}\nfrom {version} to v1.14, whose configs are made of such documents."
    if any(line.startswith(f"{patch.path}:") for line in lines for patch in _of_all(layers)):
        hint += _ALL
    return PatchError("\n".join(dict.fromkeys(lines)), hint=hint)


def _of_all(layers: Sequence[Patch]) -> list[Patch]:
    """The patches that all environments share."""
    return [patch for patch in layers if patch.path.parent == Path("patches")]


def _lines(
    one: Collision, layers: Sequence[Patch], contract: tuple[int, int], node: str
) -> Iterator[str]:
    """Each place in a patch that has the field or the document, and what it is beside."""
    version = f"v{contract[0]}.{contract[1]}"
    fields = [*_places(layers, "", one.keys)]
    documents = [*_places(layers, one.kind, ("kind",))]
    # What is not as the contract has it is what somebody wrote by mistake.
    if fields and (contract >= layout.DOCUMENTS or not documents):
        beside = f"the document {one.kind}"
        beside += f", in {documents[0]}" if documents else f" of contract {version}"
        wrong = dict.fromkeys(fields, one.field)
    else:
        beside = one.field
        beside += f", in {fields[0]}" if fields else f", which configs of contract {version} have"
        wrong = dict.fromkeys(documents, f"the document {one.kind}")
    for place, what in wrong.items():
        yield f"{place}: {what}: Talos refuses this beside {beside}; for {node}"


def _places(layers: Sequence[Patch], kind: str, keys: Keys) -> Iterator[str]:
    for patch in layers:
        for number, document in enumerate(patch.documents):
            if layout.kind_of(document) == kind and lookup(document, *map(str, keys)) is not None:
                # Lines of encrypted files are not those that one edits.
                at = None if patch.secret else positions.of(patch.text).get((number, keys))
                yield f"{patch.path}:{at.line}" if at else str(patch.path)
