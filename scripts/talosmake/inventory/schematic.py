"""Schematics: which system extensions and kernel arguments the Image Factory puts into an image.

The factory calls a schematic by the SHA-256 of its canonical YAML. Its own package computes that,
in the program ``schematic-id`` (tools/schematic), which asks nobody.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from talosmake.base.errors import InventoryError, ToolError
from talosmake.base.process import Result, run
from talosmake.base.program import set_up
from talosmake.base.tools import SCHEMATIC_ID, require
from talosmake.inventory.factory import PUBLIC_FACTORY, Factory
from talosmake.patches import positions

# The schematic that changes nothing.
PLAIN = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"

_TIMEOUT = 30.0
_ID = re.compile(rb"[0-9a-f]{64}\n")
_LINE = re.compile(r"line (\d+): ")
_UNKNOWN = re.compile(r"field (\S+) not found in type \S+")


def schematic_id(text: str, path: Path, factory: Factory = PUBLIC_FACTORY) -> str:
    """The id of a schematic: 64 hex digits.

    :param path: where the text comes from, for messages only.
    :param factory: the one that is to make its images, for messages only.
    :raises InventoryError: when it is no schematic.
    :raises ToolError: when the program that knows is missing, or was built of another version.
    """
    result = _asked(text)
    if not result.ok:
        where, wrong = _wrong(text, result.stderr)
        raise InventoryError(
            f"{path}{where}: {wrong}",
            hint="The Image Factory's documentation says what a schematic has. Where "
            f"{factory.host} itself takes this one, write the id that it answers with as "
            "TALOS_SCHEMATIC_ID, in place of TALOS_SCHEMATIC: "
            f"curl -X POST --data-binary @{path} {factory.url}/schematics",
        )
    return result.stdout.decode().strip()


# Once a process for each content; not kept in a file, as it takes 3 ms.
@cache
def _asked(text: str) -> Result:
    try:
        require(SCHEMATIC_ID)
    except ToolError as error:
        hint = f"Run '{set_up('schematic')}': it builds the program."
        raise ToolError(f"TALOS_SCHEMATIC: {error.message}", hint=hint) from None
    result = run([SCHEMATIC_ID.name], stdin=text.encode(), timeout=_TIMEOUT)
    if result.ok and not _ID.fullmatch(result.stdout):
        raise ToolError(f"{SCHEMATIC_ID.name} answers with something that is no schematic's id")
    return result


def _wrong(text: str, answer: str) -> tuple[str, str]:
    """Where a schematic is wrong (``:2``, or "") and what is, of what the program says."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    # Its first line says only that more follows.
    said = next((line for line in lines if not line.endswith("errors:")), "is no schematic")
    found = _LINE.search(said)
    if found is None:
        return "", said.removeprefix("yaml: ")
    number, wrong = int(found[1]), said.replace(found[0], "", 1).removeprefix("yaml: ")
    if unknown := _UNKNOWN.fullmatch(wrong):
        wrong = f"{_dotted(text, number, unknown[1])}: the Image Factory knows no such field"
    return f":{number}", wrong


def _dotted(text: str, line: int, field: str) -> str:
    """A field with the keys above it, e.g. ``customization.bootloder``."""
    ways = [keys for (_, keys), at in positions.of(text).items() if at.line == line]
    way = next((keys for keys in ways if keys and keys[-1] == field), (field,))
    return ".".join(map(str, way))
