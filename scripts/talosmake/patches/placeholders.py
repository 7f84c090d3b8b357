"""Placeholders that nothing replaces, where a person meant a fact (pure).

Only ``${UPPER_CASE}`` is replaced, in patches and in Cilium's files. What a shell, a template or
another tool would replace stays as it is, and a machine would get it. In texts that a machine reads
by itself, such as files, scripts and manifests, it may be meant; elsewhere in a config it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from talosmake.base.errors import InventoryError, PatchError
from talosmake.patches import layout, positions
from talosmake.patches.inject import REFERENCE
from talosmake.patches.patch import Patch

Keys = tuple[str | int, ...]

# ${NAME}, ${NAME:-x}, ${name}, ${ NAME }; $(NAME); $NAME; {{ NAME }}, {{ .Name }}
_BRACES = re.compile(
    r"\$\{\s*[#!]?(?:env\.)?"
    r"(?P<name>[A-Z][A-Z0-9_]*(?![A-Za-z0-9_])|[A-Za-z_][A-Za-z0-9_-]*)[^{}\n]*\}"
)
_OTHERS = (
    re.compile(r"\$\((?P<name>[A-Za-z_]\w*)\)"),
    re.compile(r"\$(?P<name>[A-Za-z_]\w*)"),
    re.compile(r"\{\{-?\s*(?:\.|env\.|\.Values\.)?(?P<name>[A-Za-z_]\w*)\s*-?\}\}"),
)
# What Talos itself puts into talos.config= (Talos docs: reference/kernel).
_TALOS = frozenset(("uuid", "serial", "mac", "hostname", "code"))
# Keys of texts that machines or clusters read by themselves.
_TEXTS = frozenset(("content", "contents", "manifest"))
_PARTS = frozenset(
    (place.kind, place.keys)
    for setting in (layout.STATIC_PODS, layout.UDEV_RULES)
    for place in setting.places
)


@dataclass(frozen=True)
class Placeholder:
    """A placeholder as it is written.

    :ivar fact: the fact that is meant; "" where no fact has such a name.
    :ivar certain: no machine can have use for it as it is.
    :ivar braces: it is written as ``${...}``.
    """

    written: str
    fact: str
    certain: bool
    braces: bool = True


def found(text: str, facts: Iterable[str]) -> Iterator[Placeholder]:
    """The placeholders in a text that somebody may have taken for facts.

    :param facts: the names of all facts that there are.
    """
    if "$" not in text and "{{" not in text:
        return
    names = list(facts)
    same = {_letters(name): name for name in names}
    for match in _BRACES.finditer(text):
        name = match["name"]
        fact = same.get(_letters(name), "")
        if fact or name not in _TALOS:
            yield Placeholder(match[0], fact, bool(fact) or name.isupper())
    for pattern in _OTHERS:
        for match in pattern.finditer(text):
            if match["name"] in names:
                yield Placeholder(match[0], match["name"], certain=True, braces=False)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_text(kind: str, keys: Keys, value: str) -> bool:
    """Whether a value is a text that a machine or a cluster reads by itself.

    :param kind: of its document; "" for that of machine and cluster.
    """
    above = {(kind, keys[:length]) for length in range(3)}
    return "\n" in value or keys[-1:] in [(key,) for key in _TEXTS] or bool(above & _PARTS)


def in_document(
    document: Mapping[str, Any], facts: Iterable[str]
) -> Iterator[tuple[Keys, Placeholder]]:
    """The placeholders in a document's keys and values, texts left out, with the way there."""
    names = list(facts)
    for keys, text in _scalars(document, ()):
        if not is_text(layout.kind_of(document), keys, text):
            for placeholder in found(text, names):
                yield keys, placeholder


def _scalars(value: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    """Every key and every value, as text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*keys, str(key)), str(key)
            yield from _scalars(item, (*keys, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _scalars(item, (*keys, index))
    elif isinstance(value, str):
        yield keys, value


def advice(placeholder: Placeholder) -> str:
    """What to write instead."""
    if REFERENCE.fullmatch(placeholder.written):
        return (
            f"Write {placeholder.written} with one $. A literal one has its place in the content "
            "of files, in scripts and in manifests only."
        )
    if not placeholder.fact:
        return "Only ${UPPER_CASE} is replaced, by the fact of that name. Write the value itself."
    return f"Write ${{{placeholder.fact}}}: only ${{UPPER_CASE}} is replaced."


def check_value(name: str, value: str, where: str, facts: Iterable[str]) -> None:
    """Refuse a fact whose value names another fact, as a shell would replace it.

    :param where: the file, with the line where there is one.
    :param facts: the names of all facts that are known there.
    :raises InventoryError: for the first one.
    """
    for placeholder in found(value, facts):
        if placeholder.certain:
            raise InventoryError(
                f"{where}: the value of {name} has {placeholder.written} in it, and nothing in a "
                "value is replaced",
                hint="Write the value out; or put it together where it is used, in a patch: there "
                "each ${NAME} is replaced.",
            )


def check_patch(patch: Patch, raw: str, facts: Iterable[str]) -> None:
    """Refuse a patch in which something looks like a fact that nothing replaces.

    :param patch: as it is applied, with its facts.
    :param raw: its text before that, for line numbers.
    :raises PatchError: for all of them at once; of an encrypted patch it shows nothing.
    """
    names = list(facts)
    lines, hints = [], []
    for number, document in enumerate(patch.documents):
        for keys, placeholder in in_document(document, names):
            if not placeholder.certain or (patch.secret and not placeholder.braces):
                continue
            shown = "a placeholder" if patch.secret else placeholder.written
            key = "" if patch.secret else f" {dotted(keys)}:"
            where = _where(patch, raw, number, keys)
            lines.append(f"{where}:{key} {shown} is not replaced, and would be taken as it is")
            hints.append(advice(placeholder))
    if lines:
        raise PatchError("\n".join(dict.fromkeys(lines)), hint="\n".join(dict.fromkeys(hints)))


def dotted(keys: Keys) -> str:
    """A way as messages name it, e.g. ``machine.certSANs[0]``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)[1:]


def _where(patch: Patch, raw: str, number: int, keys: Keys) -> str:
    # Lines of encrypted files are not those that one edits.
    found_ = {} if patch.secret else positions.of(raw)
    for end in range(len(keys), 0, -1):
        if (number, keys[:end]) in found_:
            return f"{patch.path}:{found_[number, keys[:end]].line}"
    return str(patch.path)
