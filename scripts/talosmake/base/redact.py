"""Keeping secrets out of messages (pure)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

REDACTED = "<redacted>"

# Shorter values are too common to be taken out of a text ("true", "443").
_SHORTEST = 6

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_PEM = "-----"
# How Talos's decoder starts a list of keys, which is YAML with all that stands below them.
_UNKNOWN_KEYS = "unknown keys found during decoding:"

# Keys of a document that say which one it is; messages name it by them.
_IDENTITY = ("apiVersion", "kind", "name")
# Talos's own words: for ``version``, ``machine.type``, ``op`` in ``machine.files`` and ``$patch``.
WORDS = frozenset(("v1alpha1", "controlplane", "worker", "create", "append", "overwrite", "delete"))


def identifies(kind: str, keys: Sequence[object]) -> bool:
    """Whether a value of a document of a kind only says which one it is, and so is no secret."""
    return bool(kind) and len(keys) == 1 and keys[0] in _IDENTITY


def secret_scalars(document: Mapping[str, Any]) -> Iterator[str]:
    """The values of a document of an encrypted patch that are secret wherever they stand."""
    kind = str(document.get("kind", ""))
    for key, value in document.items():
        if not identifies(kind, (key,)):
            yield from (text for text in scalars(value) if text not in WORDS)


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


def pem(value: str) -> str:
    """The certificate or key in a value that is base64 of PEM, as bundles have it; "" for others.

    Machine configs have it in this form from contract 1.14 on, outside machine and cluster.
    """
    try:
        text = base64.b64decode(value, validate=True).decode("ascii").strip()
    except (binascii.Error, ValueError):
        return ""
    return text if text.startswith(_PEM) else ""


def pem_lines(value: str) -> list[str]:
    """The lines of :func:`pem` that tell something of it: those between its first and last one."""
    return [line for line in pem(value).splitlines() if not line.startswith(_PEM)]


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in ``text``, whole or as tools quote it.

    They quote it by the line, escaped, cut short (``abcdef...``), and of a URL the part they mind.
    """
    return without_forms(text, forms_of(secrets))


def forms_of(secrets: Iterable[str]) -> list[str]:
    """The forms in which tools quote these secrets, longest first; made once for many texts."""
    return sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)


def without_forms(text: str, forms: Iterable[str]) -> str:
    """Replace each of these forms in ``text``."""
    for form in forms:
        text = text.replace(form, REDACTED)
    return text


def encodings(secret: str) -> Iterator[str]:
    """Other forms of a secret by which a text holds it.

    In quotes of JSON; in base64, also where it is a part of what was encoded; and of a text in
    base64 its lines, other than those that say what it is (``-----BEGIN ...``).
    """
    content = secret.encode(errors="replace")
    forms = {json.dumps(secret, ensure_ascii=ascii_)[1:-1] for ascii_ in (True, False)}
    forms.update(_decoded(secret))
    if len(content) >= _SHORTEST:
        for shift in range(3):
            # What does not depend on the bytes beside it.
            own = slice(-(-shift * 8 // 6), (shift + len(content)) * 8 // 6)
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                forms.add(encode(bytes(shift) + content).decode()[own])
    yield from (form for form in forms if len(form) >= _SHORTEST)


def _decoded(secret: str) -> Iterator[str]:
    if len(secret) % 4 or not _BASE64.fullmatch(secret):
        return
    try:
        lines = base64.b64decode(secret).decode().splitlines()
    except (binascii.Error, UnicodeDecodeError):
        return
    if all(line.isprintable() for line in lines):
        yield from (line.strip() for line in lines if not line.startswith("-----"))


_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")


def _forms(secret: str) -> Iterator[str]:
    parts = re.split(r"[/:@?&=#]+", secret) if "://" in secret else []
    for whole in (secret, *secret.splitlines(), *parts):
        one = whole.strip()
        if len(one) >= _SHORTEST:
            yield one
            yield from encodings(one)
            # Go cuts after seven bytes.
            yield one.encode(errors="replace")[:7].decode(errors="replace") + "..."


def without_unknown_values(text: str) -> str:
    """What Talos says of a config, with the keys that it does not know, but not their values."""
    said, unknown, values = text.partition(_UNKNOWN_KEYS)
    if not unknown:
        return text
    try:
        subtree = yaml.load(values, Loader=_Loader)  # noqa: S506 - a loader that makes text only
        keys = [".".join(way) for way in _ways(subtree)]
    except yaml.YAMLError:
        keys = []
    return f"{said}{unknown} {', '.join(dict.fromkeys(keys))}".rstrip()


def _ways(value: Any) -> Iterator[tuple[str, ...]]:
    """The keys to each value, without the numbers of lists."""
    if isinstance(value, list) and value:
        for item in value:
            yield from _ways(item)
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from ((str(key), *way) for way in _ways(item))
    else:
        yield ()


def without_quotes(text: str) -> str:
    """The first line of a tool's message, with what stands in quotes taken out.

    For messages about text that is secret as a whole, from which only the kind of fault may show.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    return re.sub(r"`[^`]*`|\"(?:\\.|[^\"\\])*\"", REDACTED, lines[0]) if lines else ""
