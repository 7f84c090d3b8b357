"""Write config/schemas/talos.json: what each pinned talosctl knows of versions.

To be run after a pin in tools/talosctl/<minor version>/go.mod was changed, with Go on PATH:
``make versions``.
Which Kubernetes each Talos takes is asked of Talos's own package (main.go); which documents and
fields a version does not know yet, of the JSON schemas in its Go modules.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TALOSCTL = ROOT / "tools/talosctl"
REGISTRY = ROOT / "tools/tools.toml"
TABLE = ROOT / "config/schemas/talos.json"
TALOS = "github.com/siderolabs/talos"
MACHINERY = f"{TALOS}/pkg/machinery"
# The minor version of Talos from which on documents and fields are told apart.
FIRST = 10


def main() -> int:
    """Write the table, or say why not."""
    try:
        tables = {minor: table(minor) for minor in minors()}
        TABLE.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"{' '.join(error.cmd)} failed:\n{error.stderr}")
        return 1
    print(f"{TABLE.relative_to(ROOT)}: written")
    return 0


def minors() -> list[str]:
    """The minor versions of Talos that a talosctl is pinned for."""
    registry = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
    return list(registry["talosctl"]["minors"])


def table(minor: str) -> dict[str, Any]:
    """All that the table holds of one talosctl, asked of Go modules.

    :param minor: the minor version of Talos that it is for, e.g. ``1.13``.
    """
    directory = TALOSCTL / minor
    pinned = pinned_version(directory, MACHINERY)
    major, number = (int(part) for part in minor.split("."))
    # Of what is pinned, that patch version: one may know more than the first of its minor version.
    pins = {one: pinned_version(TALOSCTL / one, MACHINERY) for one in minors()}
    names = [f"{major}.{one}" for one in range(FIRST, number + 1)]
    versions = [pins.get(name, f"{name}.0") for name in names]
    schemas = {version: schema(directory, version) for version in versions}
    return {
        "talosctl": pinned_version(directory, TALOS),
        "kubernetes": json.loads(_go(directory, "run", "../../versions/main.go")),
        "kinds": sorted(kind for kind, _ in kinds(schemas[pinned]) if kind),
        "since": since(schemas),
    }


def pinned_version(directory: Path, module: str) -> str:
    """The version of a module that a talosctl is built with, without a leading v."""
    text = (directory / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^\s*{re.escape(module)} v(\S+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{directory / 'go.mod'} does not pin {module}")
    return found[1]


def schema(directory: Path, version: str) -> dict[str, Any]:
    """Talos's JSON schema of machine configs of a version."""
    told = json.loads(_go(directory, "mod", "download", "-json", f"{MACHINERY}@v{version}"))
    path = Path(told["Dir"]) / "config/schemas/config.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _go(directory: Path, *arguments: str) -> str:
    if shutil.which("go") is None:
        raise SystemExit("there is no Go on PATH, by which Talos's own package is asked")
    done = subprocess.run(
        ["go", *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout


def since(schemas: dict[str, dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """What each minor version knows that the one before does not.

    :param schemas: by version, the oldest first.
    :returns: by minor version, then by the document's kind ("" for machine and cluster), the
        fields, with ``*`` for keys of one's own; no fields for a kind that is new itself.
    """
    found: dict[str, dict[str, list[str]]] = {}
    before: dict[str, set[str]] | None = None
    for version, one in schemas.items():
        now = {kind: set(fields) for kind, fields in kinds(one)}
        if before is not None:
            new: dict[str, list[str]] = {}
            for kind in sorted(now):
                if kind not in before:
                    new[kind] = []
                elif more := _topmost(now[kind] - before[kind]):
                    new[kind] = more
            found[".".join(version.split(".")[:2])] = new
        before = now
    return found


def _topmost(fields: set[str]) -> list[str]:
    """Without those below another one."""
    return sorted(
        field for field in fields if not any(field.startswith(f"{other}.") for other in fields)
    )


def kinds(schema: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each document's kind, and all its fields with the keys above them."""
    definitions = schema["$defs"]
    for choice in schema["oneOf"]:
        definition = definitions[choice["$ref"].rpartition("/")[2]]
        kind = definition["properties"].get("kind", {}).get("enum", [""])[0]
        yield kind, list(_fields(definition, definitions, ()))


def _fields(part: Any, definitions: dict[str, Any], way: tuple[str, ...]) -> Iterator[str]:
    if "$ref" in part:
        part = definitions[part["$ref"].rpartition("/")[2]]
    for key, value in part.get("properties", {}).items():
        yield ".".join((*way, key))
        yield from _fields(value, definitions, (*way, key))
    for value in part.get("patternProperties", {}).values():
        yield from _fields(value, definitions, (*way, "*"))
    if isinstance(part.get("items"), dict):
        yield from _fields(part["items"], definitions, way)
    for key in ("anyOf", "oneOf", "allOf"):
        for value in part.get(key, ()):
            yield from _fields(value, definitions, way)


if __name__ == "__main__":
    sys.exit(main())
