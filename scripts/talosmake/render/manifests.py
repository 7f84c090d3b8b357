"""Kubernetes manifests inside machine configs, looked into before Talos takes them (pure).

The checks are structural: no schema of Kubernetes or of custom resources is looked at. How Talos
takes inline manifests is said in its controllers (machined: k8s.ManifestApplyController).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from talosmake.base.errors import PatchError
from talosmake.base.secret_keys import signs
from talosmake.base.yamls import lookup
from talosmake.patches import layout

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# Those that Kubernetes makes by itself. Talos creates Namespaces before all else.
_NAMESPACES = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})


@dataclass(frozen=True)
class Manifest:
    """One inline manifest of a machine config.

    :ivar name: Talos applies entries in the order of their names, whatever their order in the list.
    :ivar source: where it comes from, for messages.
    :ivar secret: it came out of an encrypted file, so no message may quote it.
    """

    name: str
    contents: str
    source: str
    secret: bool = False


@dataclass(frozen=True)
class Object:
    """A Kubernetes object of a manifest.

    :ivar group: its API group, "" for the core one.
    :ivar namespace: "" where it names none; namespaced kinds then go to ``default``.
    :ivar number: of its document in the manifest, from 1.
    """

    group: str
    kind: str
    namespace: str
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What no two objects of a cluster share."""
        return self.group, self.kind, self.namespace, self.name


def check(manifests: Sequence[Manifest], *, more_elsewhere: bool = False) -> None:
    """Check manifests that go into one machine config.

    :param more_elsewhere: others come from URLs that nobody looks into; so Namespaces that are not
        here may be there.
    :raises PatchError: for a manifest that does not parse; an object without apiVersion, kind or
        name; two entries of one name; two objects of one kind, namespace and name; an object in a
        namespace that will not be there.
    """
    _check_names(manifests)
    found = [(manifest, item) for manifest in manifests for item in objects_of(manifest)]
    _check_unique(found)
    if not more_elsewhere:
        _check_namespaces(found)


def objects_of(manifest: Manifest) -> tuple[Object, ...]:
    """The objects of a manifest, in order; Lists are unwrapped, as Talos does.

    :raises PatchError: when it does not parse, or one of them lacks what every object has.
    """
    return _objects(manifest)


@lru_cache(maxsize=64)  # the control planes of an environment have the same ones
def _objects(manifest: Manifest) -> tuple[Object, ...]:
    return tuple(
        _object(manifest, number, document)
        for number, whole in enumerate(_documents(manifest), 1)
        for document in _unwrapped(whole)
    )


def documents_of(manifest: Manifest) -> Iterator[Any]:
    """The objects of a manifest as they are written, scalars as text; Lists are unwrapped.

    :raises PatchError: when it does not parse.
    """
    for whole in _documents(manifest):
        yield from _unwrapped(whole)


def _documents(manifest: Manifest) -> Iterator[Any]:
    try:
        # Documents of comments alone are counted, so that numbers are those that people see.
        yield from yaml.load_all(manifest.contents, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f", line {mark.line + 1}" if mark else ""
        problem = "" if manifest.secret else f": {getattr(error, 'problem', '')}"
        raise PatchError(
            f"{manifest.source}: the manifest {manifest.name!r}{where} is not YAML{problem}"
        ) from None


def _unwrapped(document: Any) -> Iterator[Any]:
    if document in ("", "null", "~", {}):
        return
    kind, items = lookup(document, "kind"), lookup(document, "items")
    if str(kind).endswith("List") and isinstance(items, list):
        yield from items
    else:
        yield document


def _object(manifest: Manifest, number: int, document: Any) -> Object:
    version, kind = lookup(document, "apiVersion"), lookup(document, "kind")
    name = lookup(document, "metadata", "name")
    namespace = lookup(document, "metadata", "namespace")
    named = {"apiVersion": version, "kind": kind, "metadata.name": name}
    what = "" if manifest.secret or not isinstance(kind, str) else f" ({kind})"
    where = f"{manifest.source}: document {number} of the manifest {manifest.name!r}{what}"
    no_text = [
        key
        for key, value in {**named, "metadata.namespace": namespace}.items()
        if isinstance(value, dict | list)
    ]
    if no_text:
        raise PatchError(
            f"{where}: {' and '.join(no_text)} must be text, not a mapping or a list",
            hint="Kubernetes takes one text for each; put what starts with { or [ in quotes.",
        )
    missing = [key for key, value in named.items() if not value]
    if missing:
        raise PatchError(
            f"{where} has no {' and no '.join(missing)}",
            hint="Each document is a Kubernetes object; a stray '---' cuts one in two.",
        )
    return Object(version.rpartition("/")[0], kind, namespace or "", name, number)


def _check_names(manifests: Iterable[Manifest]) -> None:
    seen: dict[str, Manifest] = {}
    for manifest in manifests:
        if manifest.name in seen:
            sources = _both(seen[manifest.name], manifest)
            raise PatchError(
                f"{sources}: two inline manifests are named {manifest.name!r}",
                hint="Talos tells them apart by their names; give one another name.",
            )
        seen[manifest.name] = manifest


def _check_unique(found: Iterable[tuple[Manifest, Object]]) -> None:
    seen: dict[tuple[str, str, str, str], Manifest] = {}
    for manifest, item in found:
        if item.key in seen:
            what = "an object" if manifest.secret else str(item)
            raise PatchError(
                f"{_both(seen[item.key], manifest)}: {what} is there twice (document "
                f"{item.number} of the manifest {manifest.name!r})",
                hint="Talos would create the first and leave the other out. Keep one.",
            )
        seen[item.key] = manifest


def _both(one: Manifest, other: Manifest) -> str:
    return one.source if one.source == other.source else f"{one.source} and {other.source}"


def _check_namespaces(found: Sequence[tuple[Manifest, Object]]) -> None:
    made = {item.name for _, item in found if (item.group, item.kind) == ("", "Namespace")}
    for manifest, item in found:
        if item.namespace and item.namespace not in _NAMESPACES | made:
            what = f"document {item.number}" if manifest.secret else str(item)
            named = "its namespace" if manifest.secret else f"the namespace {item.namespace}"
            raise PatchError(
                f"{manifest.source}: {what}: {named} will not be there when Talos creates it",
                hint="Add the Namespace to the manifest: Talos creates Namespaces first. At an "
                "object whose\nnamespace is missing it stops, and creates none of those after it.",
            )


def differences(one: Manifest, other: Manifest) -> list[str]:
    """The objects in which two renders of the same manifest differ.

    :returns: their kinds and names; empty where only comments or the like differ.
    """
    pairs = zip(_contents(one), _contents(other), strict=False)
    return [str(left) for (left, text), (_, again) in pairs if text != again]


def _contents(manifest: Manifest) -> Iterator[tuple[Object, str]]:
    for number, whole in enumerate(_documents(manifest), 1):
        for document in _unwrapped(whole):
            yield _object(manifest, number, document), repr(document)


def changed(documents: Iterable[object], others: Iterable[object]) -> list[str]:
    """The names of the inline manifests in which two machine configs differ, sorted.

    :param documents: the YAML documents of a config.
    """
    one, other = _inlined(documents), _inlined(others)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _inlined(documents: Iterable[object]) -> dict[str, str]:
    return {
        name: contents.strip()
        for document in documents
        for name, contents in layout.inline_manifests(document)
    }


def holds_private_key(contents: str) -> bool:
    """Whether there is a private key in PEM form in it, plain or in base64."""
    return any(what.startswith("a private key") for _, what in signs(contents))
