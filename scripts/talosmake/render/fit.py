"""What of a patch does not fit a node's role and contract, or would break its config (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from talosmake.base.errors import PatchError
from talosmake.base.yamls import lookup
from talosmake.inventory.model import Role
from talosmake.patches import layout, positions
from talosmake.patches.patch import Patch, of_kind
from talosmake.patches.positions import Keys

# `$patch`; `$$patch` is that for tools that replace variables; the others are kubectl's.
_DIRECTIVE = re.compile(r"\$+(patch$|retainKeys$|setElementOrder/|deleteFromPrimitiveList/)")


def hostname_patch(patches: Sequence[Patch], hostname: str, contract: tuple[int, int]) -> str:
    """The layer below all others that gives a node its hostname, or "" where patches see to it.

    From contract 1.12 on, generated configs carry a HostnameConfig document with ``auto: stable``,
    which may stand neither beside a hostname nor beside ``machine.network.hostname`` (Talos docs:
    reference/configuration/network/hostnameconfig). Before that they carry
    ``machine.features.stableHostname``, which may not stand beside such a document.
    """
    legacy = any(
        lookup(document, "machine", "network", "hostname")
        for patch in patches
        for document in patch.documents
    )
    documents = list(of_kind(patches, "HostnameConfig"))
    deletes = [document.get("$patch") == "delete" for document in documents]
    if contract < (1, 12):
        if legacy:
            return ""
        if documents and not deletes[-1]:
            return "machine:\n  features:\n    stableHostname: false\n"
        return f"machine:\n  network:\n    hostname: {hostname}\n"
    header = "apiVersion: v1alpha1\nkind: HostnameConfig\n"
    if legacy:
        return "" if any(deletes) else header + "$patch: delete\n"
    if any(document.get("auto", "off") != "off" for document in documents):
        return ""
    return header + f"hostname: {hostname}\nauto: off\n"


def check_documents(
    layers: Sequence[Patch], contract: tuple[int, int], role: Role = Role.CONTROLPLANE
) -> None:
    """Refuse documents of which talosctl makes a broken config, or a crash.

    :param layers: in the order they apply.
    :param role: of the node; a worker's config has fewer documents of Talos's own.
    :raises PatchError: for two documents of one kind and name in one file, for ``$patch: delete``
        of a document that no earlier layer has, and for any other ``$patch``.
    """
    there = layout.generated(contract, control_plane=role is Role.CONTROLPLANE)
    for patch in layers:
        _check_directives(patch)
        deleted = [_identity(doc) for doc in patch.documents if doc.get("$patch") == "delete"]
        written = [_identity(doc) for doc in patch.documents if "$patch" not in doc]
        absent = next((one for one in deleted if any(one) and one not in there), None)
        twice = next((one for one in written if written.count(one) > 1), None)
        if absent is not None:
            raise PatchError(
                f"{patch.path}: $patch: delete of {_called(absent)}, which no earlier layer has",
                hint="Remove that document, or correct its kind and name. Layers apply in the "
                "order that the README gives.",
            )
        if twice is not None:
            raise PatchError(
                f"{patch.path}: has {_called(twice)} more than once",
                hint="Write in one document what it sets; talosctl takes no two for the same in "
                "one file.",
            )
        there = (there - frozenset(deleted)) | frozenset(written)


def _check_directives(patch: Patch) -> None:
    """Refuse a ``$patch`` that talosctl would take for a key of the config like any other.

    It knows ``delete`` alone (machinery v1.13: config/configloader/internal/decoder/delete.go).
    """
    for number, document in enumerate(patch.documents):
        for keys, value in _directives(document):
            if keys[-1] == "$patch" and value == "delete":
                continue
            position = None if patch.secret else positions.of(patch.text).get((number, keys))
            where = f"{patch.path}:{position.line}" if position else str(patch.path)
            dotted = ".".join(str(key) for key in keys[:-1]) or _called(_identity(document))
            said = f": {value}" if isinstance(value, str) and not patch.secret else ""
            raise PatchError(
                f"{where}: {dotted}: {keys[-1]}{said}: Talos knows '$patch: delete' alone, and "
                "would take this for a value of the config",
                hint="Mappings merge without it. To replace one, write '$patch: delete' into it, "
                "and what it should have\ninto a later layer.",
            )


def _directives(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Each ``$patch`` in a document, and what other tools write like it, with the way there."""
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        way = (*keys, key)
        if isinstance(key, str) and _DIRECTIVE.match(key):
            yield way, item
        yield from _directives(item, way)


def _identity(document: dict[str, Any]) -> tuple[str, str]:
    """What tells documents of a config apart: kind and name."""
    return str(document.get("kind", "")), str(document.get("name", ""))


def _called(identity: tuple[str, str]) -> str:
    name = " ".join(part for part in identity if part)
    return f"the document {name}" if name else "a document of machine and cluster"


def check_role(patch: Patch, role: Role, *, shared: bool) -> None:
    """Refuse what cannot be meant for a node of this role.

    :param shared: the patch stands in a layer that both roles share; there, control-plane settings
        are left alone, as they reach the control planes too. Not so documents that Talos refuses on
        workers.
    :raises PatchError: for another ``machine.type``, or control-plane settings in a worker's patch.
    """
    for number, document in enumerate(patch.documents):
        if role is Role.WORKER and layout.kind_of(document) in layout.CONTROL_PLANE_KINDS:
            raise _refused_on_workers(patch, number, shared=shared)
        kind = lookup(document, "machine", "type")
        if kind is not None and (kind != role or shared):
            raise PatchError(
                f"{patch.path}: machine.type: {kind}, but a node's role is its directory"
                + ("" if shared else f" ({role.directory})"),
                hint="Remove machine.type; move the node's directory to change its role.",
            )
        if role is Role.WORKER and not shared:
            _refuse_control_plane_settings(patch.path, document)


def _refuse_control_plane_settings(path: Path, document: dict[str, Any]) -> None:
    only = (f"cluster.{key}" for key in layout.CONTROL_PLANE_ONLY)
    found = [name for name in only if lookup(document, *name.split("."))]
    if (kind := layout.kind_of(document)) in layout.READ_ON_CONTROL_PLANES:
        found.append(f"the document {kind}")
    if found:
        raise PatchError(
            f"{path}: {', '.join(found)}: only control planes have this, and this is a worker",
            hint="Move it to control_planes/common.yaml, or the node's directory to "
            "control_planes/ if it is one.",
        )


def _refused_on_workers(patch: Patch, number: int, *, shared: bool) -> PatchError:
    """The error for a document that makes a worker's config one that Talos refuses."""
    keys: Keys = ("kind",)
    position = None if patch.secret else positions.of(patch.text).get((number, keys))
    where = f"{patch.path}:{position.line}" if position else str(patch.path)
    reaches = "this patch reaches workers, too" if shared else "this is a worker"
    return PatchError(
        f"{where}: {_called(_identity(patch.documents[number]))}: Talos takes it on control planes "
        f"alone, and {reaches}",
        hint="Move the document to control_planes/common.yaml of the environment"
        + ("." if shared else ", or the node's directory to control_planes/ if it is one."),
    )
