"""Schematics: which system extensions and kernel arguments the Image Factory puts into an image.

The factory calls a schematic by the SHA-256 of its canonical YAML, so its id can be computed here
(siderolabs/image-factory: pkg/schematic). Canonical is what Go's yaml.v3 makes of its fields:
in the order below, empty ones left out, indented by four, lines not folded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from scripts.errors import InventoryError

FACTORY = "factory.talos.dev"
# The schematic that changes nothing.
PLAIN = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"

_STRINGS = {"type": "array", "items": {"type": "string"}}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": ["object", "null"], "additionalProperties": False, "properties": properties}


# The fields in the order in which the factory writes them.
_SCHEMA = _object(
    overlay=_object(
        image={"type": "string"},
        name={"type": "string"},
    ),
    customization=_object(
        extraKernelArgs=_STRINGS,
        meta={
            "type": "array",
            "items": {
                **_object(
                    key={"type": "integer", "minimum": 0, "maximum": 255},
                    value={"type": "string"},
                ),
                "type": "object",
                "required": ["key", "value"],
            },
        },
        systemExtensions=_object(officialExtensions=_STRINGS),
        secureboot=_object(includeWellKnownCertificates={"type": "boolean"}),
    ),
)
_ALWAYS = {"customization", "image", "name", "key", "value"}


def schematic_id(text: str, path: Path) -> str:
    """The id of a schematic: 64 hex digits.

    :param path: where the text comes from, for messages only.
    :raises InventoryError: when it is no schematic.
    """
    return hashlib.sha256(canonical(text, path).encode()).hexdigest()


def canonical(text: str, path: Path) -> str:
    """A schematic as the factory writes it before it computes its id."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InventoryError(f"{path}: not YAML: {error}") from None
    content = {} if content is None else content
    wrong = best_match(Draft202012Validator(_SCHEMA).iter_errors(content))
    if wrong is not None:
        where = ".".join(str(part) for part in wrong.absolute_path) or "the document"
        raise InventoryError(
            f"{path}: {where}: {wrong.message}",
            hint="A schematic has overlay (image, name) and customization (extraKernelArgs, meta, "
            "systemExtensions.officialExtensions, secureboot); see the Image Factory's docs.",
        )
    ordered = _ordered({"customization": {}, **content}, _SCHEMA)
    for text in _texts(ordered):
        if _UNSURE.search(text):
            raise InventoryError(
                f"{path}: {text[:60]!r}: the id of a schematic with such text is not computed here",
                hint="Give the image's URL as TALOS_IMAGE, and the installer image in a patch.",
            )
    return "\n".join(_lines(ordered, 0)) + "\n"


def _ordered(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value with its fields in the schema's order and empty ones left out."""
    if isinstance(value, list):
        return [_ordered(item, schema["items"]) for item in value]
    if "properties" not in schema:
        return value
    given = value or {}
    fields = {
        name: _ordered(given.get(name), part) if name in given else _zero(name, part)
        for name, part in schema["properties"].items()
    }
    return {name: part for name, part in fields.items() if part or name in _ALWAYS}


def _zero(name: str, schema: Mapping[str, Any]) -> Any:
    """What Go writes for a field that is not given but never left out."""
    return "" if name in _ALWAYS and schema.get("type") == "string" else None


# What yaml.v3 would not read back as a string when it stood there without quotes: YAML 1.2's core
# types, and YAML 1.1's truth values and numbers to base 60 for the sake of old parsers.
_NOT_A_STRING = re.compile(
    r"""~|null|Null|NULL|true|True|TRUE|false|False|FALSE
    |y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF
    |[-+]?\d[\d_]*|[-+]?0[oO]?[0-7_]+|[-+]?0x[\da-fA-F_]+|[-+]?0b[01_]+
    |[-+]?(\.\d+|\d[\d_]*(\.[\d_]*)?)([eE][-+]?\d+)?
    |[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)
    |[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?
    |\d{4}-\d{1,2}-\d{1,2}([Tt\s]\s*\d{1,2}:\d{1,2}:\d{1,2}(\.\d*)?\s*(Z|[-+]\d\d?(:?\d\d)?)?)?
    |""",
    re.VERBOSE,
)


# Unusual characters, a text of several lines that begins with a blank, and blanks at a line's end.
_UNSURE = re.compile(r"[^\t\n\x20-\x7e\xa1-\u1fff]|^\n|^[ \t].*\n|[ \t]\n|\n[ \t]+$", re.DOTALL)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])


def _lines(fields: Mapping[str, Any], indent: int) -> Iterator[str]:
    """The lines of a mapping."""
    space = " " * indent
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield f"{space}{_scalar(name, 0)}:"
            yield from _lines(value, indent + 4)
        elif isinstance(value, list):
            yield f"{space}{_scalar(name, 0)}:"
            yield from _items(value, indent + 4)
        else:
            yield f"{space}{_scalar(name, 0)}: {_scalar(value, (indent // 4 + 1) * 4)}"


def _items(values: list[Any], indent: int) -> Iterator[str]:
    """The lines of a list."""
    for value in values:
        if isinstance(value, dict):
            for number, line in enumerate(_lines(value, indent + 2)):
                yield " " * indent + "- " + line.lstrip() if number == 0 else line
        else:
            yield f"{' ' * indent}- {_scalar(value, indent + 2)}"


def _scalar(value: Any, indent: int) -> str:
    """A value as yaml.v3 writes it.

    :param indent: where the lines of a text of several lines begin.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value or "{}")
    if "\n" in value:
        return _block(value, indent)
    if _NOT_A_STRING.fullmatch(value):
        return f'"{value}"'
    if value in ("=", "<<"):
        return value
    # The rules for which other text needs quotes are YAML's own, so PyYAML has them.
    return yaml.safe_dump(value, width=math.inf, allow_unicode=True).split("\n")[0]


def _block(text: str, indent: int) -> str:
    """A text of several lines."""
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    chomping = {0: "-", 1: ""}.get(ends, "+")
    lines = body.split("\n") + [""] * (ends - 1)
    return "\n".join([f"|{chomping}", *(" " * indent + line if line else "" for line in lines)])


def iso_url(schematic: str, talos_version: str, *, secure_boot: bool) -> str:
    """Where the factory serves the ISO of a schematic (docs: Image Factory, frontend API)."""
    suffix = "-secureboot" if secure_boot else ""
    return f"https://{FACTORY}/image/{schematic}/{talos_version}/metal-amd64{suffix}.iso"


def installer_image(schematic: str, talos_version: str, *, secure_boot: bool) -> str:
    """The installer of a schematic, by which Talos writes itself to a disk."""
    suffix = "-secureboot" if secure_boot else ""
    return f"{FACTORY}/metal-installer{suffix}/{schematic}:{talos_version}"
