"""Whether sops encrypted a YAML text, by what stands in it (pure); no key is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from talosmake.base.yamls import lookup

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_METADATA = "sops"
# sops encrypts neither null nor "".
_LEFT_CLEAR = ("", "null")
# What of a rule makes it leave more (sops docs: Encrypting only parts of a file).
_SETTINGS = tuple(
    f"{which}_{by}"
    for which in ("encrypted", "unencrypted")
    for by in ("regex", "suffix", "comment_regex")
)
_DEFAULT = "unencrypted_suffix: _unencrypted"


def is_whole(content: bytes) -> bool:
    """Whether it is YAML of which each document has sops's metadata, and each value is encrypted.

    Keys are not looked at: sops encrypts none.
    """
    try:
        # As nodes, so that of a key that stands there twice both values are seen.
        documents = list(yaml.compose_all(content, Loader=_SafeLoader))
    except yaml.YAMLError:
        return False
    return bool(documents) and all(map(_is_whole, documents))


def _is_whole(document: yaml.Node | None) -> bool:
    if not isinstance(document, yaml.MappingNode):
        return False
    metadata = [value for key, value in document.value if key.value == _METADATA]
    others = [value for key, value in document.value if key.value != _METADATA]
    return any(map(_has_mac, metadata)) and not any(map(_is_clear, others))


def _has_mac(metadata: yaml.Node) -> bool:
    is_mapping = isinstance(metadata, yaml.MappingNode)
    return is_mapping and any(key.value == "mac" for key, _ in metadata.value)


def _is_clear(node: yaml.Node) -> bool:
    """Whether a value in it is in plain text."""
    if isinstance(node, yaml.ScalarNode):
        return node.value not in _LEFT_CLEAR and not node.value.startswith("ENC[")
    if isinstance(node, yaml.MappingNode):
        return any(_is_clear(value) for _, value in node.value)
    return any(map(_is_clear, node.value))


def settings(content: bytes) -> str:
    """What made sops leave values in plain text, e.g. ``encrypted_regex: ^data$``; "" for nothing.

    Its default, which is for keys that end in ``_unencrypted``, does not count.
    """
    said = [f"{key}: {one[key]}" for one in metadata(content) for key in _SETTINGS if key in one]
    return ", ".join(text for text in dict.fromkeys(said) if text != _DEFAULT)


def metadata(content: str | bytes) -> list[dict[str, Any]]:
    """The metadata of sops in each document, alike as sops writes them; [] without any."""
    try:
        documents = list(yaml.load_all(content, Loader=_BaseLoader))
    except yaml.YAMLError:
        return []
    found = (lookup(document, _METADATA) for document in documents)
    return [one for one in found if isinstance(one, dict)]


def recipients(content: bytes) -> frozenset[str]:
    """Who can decrypt it, of all kinds that sops knows: age recipients, fingerprints, ARNs, …"""
    return frozenset(
        "/".join(str(value) for key, value in one.items() if key not in _OF_A_KEY and value)
        for one in _keys(metadata(content))
    )


# What sops notes of a recipient beside who it is.
_OF_A_KEY = ("enc", "created_at")


def _keys(value: Any) -> Iterator[dict[str, Any]]:
    """All entries of metadata with an encrypted data key, also those in groups."""
    if isinstance(value, dict):
        if "enc" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)
