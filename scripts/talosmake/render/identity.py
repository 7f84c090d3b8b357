"""Which cluster a machine config is of: that of the bundle and cluster.env, or another (pure).

Members find each other by ``cluster.id`` and ``cluster.secret``, join with the tokens, and trust
the CAs (Talos docs: reference/configuration/v1alpha1/config). What says so stands in the bundle and
in cluster.env alone, so configs are held against the one that is generated without any patch.
``acceptedCAs`` only add to what is trusted, and so are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from talosmake.base.errors import PatchError
from talosmake.base.redact import pem
from talosmake.base.yamls import lookup
from talosmake.inventory.model import natural
from talosmake.patches import layout

# A document by its kind and name; the one of machine and cluster has neither.
Document = tuple[str, str]
Keys = tuple[str | int, ...]

NAME = "CLUSTER_NAME"
ENDPOINT = "CLUSTER_ENDPOINT"
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_FACTS: Mapping[layout.Setting, str] = {
    layout.CLUSTER_NAME: NAME,
    layout.ENDPOINT: ENDPOINT,
}
# A setting of a machine config, and its key in a bundle. Not all are in each config: a worker has
# few.
_SECRETS: Mapping[layout.Setting, tuple[str, ...]] = {
    layout.MACHINE_TOKEN: ("trustdinfo", "token"),
    layout.MACHINE_CA_CRT: ("certs", "os", "crt"),
    layout.MACHINE_CA_KEY: ("certs", "os", "key"),
    layout.CLUSTER_ID: ("cluster", "id"),
    layout.CLUSTER_SECRET: ("cluster", "secret"),
    layout.BOOTSTRAP_TOKEN: ("secrets", "bootstraptoken"),
    layout.AESCBC_SECRET: ("secrets", "aescbcencryptionsecret"),
    layout.SECRETBOX_SECRET: ("secrets", "secretboxencryptionsecret"),
    layout.KUBERNETES_CA_CRT: ("certs", "k8s", "crt"),
    layout.KUBERNETES_CA_KEY: ("certs", "k8s", "key"),
    layout.AGGREGATOR_CA_CRT: ("certs", "k8saggregator", "crt"),
    layout.AGGREGATOR_CA_KEY: ("certs", "k8saggregator", "key"),
    layout.SERVICE_ACCOUNT_KEY: ("certs", "k8sserviceaccount", "key"),
    layout.ETCD_CA_CRT: ("certs", "etcd", "crt"),
    layout.ETCD_CA_KEY: ("certs", "etcd", "key"),
}
_PLACES: Mapping[tuple[Document, Keys], str] = {
    ((place.kind, ""), place.keys): fact
    for setting, fact in _FACTS.items()
    for place in setting.places
}
# Shorter values of a bundle are no secrets, and may stand anywhere.
_SHORTEST = 6


@dataclass(frozen=True)
class OtherCluster:
    """A place where a config says that it is of another cluster.

    :ivar fact: what of cluster.env it differs from; "" for the bundle.
    :ivar gone: it is empty or not there.
    """

    document: Document
    keys: Keys
    fact: str
    gone: bool

    @property
    def label(self) -> str:
        """The place as messages name it, e.g. ``cluster.id``."""
        parts = [*(part for part in self.document if part), *map(str, self.keys)]
        return ".".join(parts)


def documents(config: bytes) -> dict[Document, Any]:
    """The documents of a machine config, or a bundle's one, every scalar as it is written."""
    return {
        of(document): document
        for document in yaml.load_all(config, Loader=_Loader)
        if isinstance(document, dict)
    }


def of(document: Mapping[str, Any]) -> Document:
    """What tells a document from others of a config."""
    return str(document.get("kind", "")), str(document.get("name", ""))


def differences(
    config: Mapping[Document, Any], base: Mapping[Document, Any], bundle: Any, *, secret: bool
) -> list[OtherCluster]:
    """Where a config is of another cluster than the generated one.

    What the bundle has is right everywhere: a worker may be given what only control planes need.

    :param config: the documents of a node's config.
    :param base: those of the config that is generated for its role without any patch.
    :param bundle: the secrets bundle.
    :param secret: whether the bundle is the environment's own, so that what it gives can be held
        against it.
    """
    found = []
    for (document, keys), wanted in _wanted(base, bundle, secret=secret).items():
        fact = _PLACES.get((document, keys), "")
        value = value_at(config, document, keys)
        if _plain(value, fact) not in wanted:
            found.append(OtherCluster(document, keys, fact, not value))
    return found


def value_at(config: Mapping[Document, Any], document: Document, keys: Keys) -> str:
    """The value at a place of a config; "" where there is none."""
    value: Any = config.get(document)
    for key in keys:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and key < len(value) else None
        else:
            value = lookup(value, key)
    return value if isinstance(value, str) else ""


def layer_of(stages: Sequence[Mapping[Document, Any]], place: OtherCluster) -> int:
    """The number of the layer that gave a place its value, from 0.

    :param stages: the documents without any layer, and after each of them.
    """
    values = [value_at(stage, place.document, place.keys) for stage in stages]
    return max(n for n in range(len(values) - 1) if values[n] != values[n + 1])


def refused(
    found: Sequence[tuple[OtherCluster, str]], node: str, bundle: str, env_file: str
) -> PatchError:
    """The error for places that say that a node is of another cluster; it shows no value.

    :param found: each with the file that sets it, and the line where it can be told.
    :param node: the node, with its environment.
    """
    lines = []
    for place, where in sorted(found, key=lambda item: natural(item[1])):
        right = f"{place.fact} of {env_file}" if place.fact else f"that of {bundle}"
        what = "is taken away or empty" if place.gone else f"is not {right}"
        lines.append(f"{where}: {place.label} {what}, for {node}")
    hint = "Remove it from the patch: cluster.env and the bundle alone say which cluster this is.\n"
    facts = sorted({place.fact for place, _ in found} - {""})
    if facts:
        hint += f"If the patch is right, change {' and '.join(facts)} in {env_file}.\n"
    if any(place.gone and place.keys[-1] in ("crt", "cert", "key") for place, _ in found):
        hint += "Talos replaces both halves of a CA, so a patch with one takes the other away.\n"
    if any(not place.fact for place, _ in found):
        hint += (
            "If the patch is right, make a bundle of that cluster's config: docs/secrets.md, "
            '"To bring in a cluster that runs already".\n'
        )
    return PatchError("\n".join(lines), hint=hint.rstrip())


def _wanted(
    base: Mapping[Document, Any], bundle: Any, *, secret: bool
) -> dict[tuple[Document, Keys], tuple[str, ...]]:
    """What may stand at each place that says which cluster a config is of."""
    wanted: dict[tuple[Document, Keys], tuple[str, ...]] = {}
    for (document, keys), fact in _PLACES.items():
        # Where a cluster's name stands in one layout, it may stand in the other, too.
        values = {_plain(value_at(base, *place), fact) for place in _places_of(fact)}
        here = _plain(value_at(base, document, keys), fact)
        wanted[document, keys] = (here, *(values if not here else ()))
    if not secret:
        return wanted
    for setting, way in _SECRETS.items():
        given = str(lookup(bundle, *way) or "")
        for place in setting.places:
            there = _plain(value_at(base, (place.kind, ""), place.keys))
            wanted[(place.kind, ""), place.keys] = (there, *_forms(given))
    # What else of the bundle stands in the generated config.
    secrets = {
        form for _, text in _leaves(bundle) if len(text) >= _SHORTEST for form in _forms(text)
    }
    for document, content in base.items():
        for leaf, text in _leaves(content):
            if _plain(text) in secrets:
                wanted.setdefault((document, leaf), (_plain(text),))
    return wanted


def _places_of(fact: str) -> Iterator[tuple[Document, Keys]]:
    return (place for place, of_it in _PLACES.items() if of_it == fact)


def _plain(value: str, fact: str = "") -> str:
    """A value as it is compared: where PEM ends with a newline, or a URL with /, says nothing."""
    return value.rstrip("/") if fact == ENDPOINT else value.strip()


def _forms(value: str) -> Iterator[str]:
    """A value of a bundle as configs have it: as it is, and PEM decoded."""
    if value:
        yield value
        yield from filter(None, [pem(value)])


def _leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*keys, index))
    elif isinstance(value, str):
        yield keys, value
