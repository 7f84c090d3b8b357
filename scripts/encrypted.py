"""Whether sops encrypted a YAML text, by what stands in it (pure); no key is needed."""

from __future__ import annotations

from typing import Any

import yaml

from scripts.patches import lookup

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_METADATA = "sops"
# sops encrypts neither null nor "".
_LEFT_CLEAR = ("", "null")


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


def metadata(text: str) -> list[dict[str, Any]]:
    """The metadata of sops in each document, alike as sops writes them; [] without any."""
    try:
        documents = list(yaml.load_all(text, Loader=_BaseLoader))
    except yaml.YAMLError:
        return []
    found = (lookup(document, _METADATA) for document in documents)
    return [one for one in found if isinstance(one, dict)]
