"""Editor help: JSON schemas for the files that a person writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from talosmake.base import files
from talosmake.base.errors import ToolError
from talosmake.base.program import ROOT
from talosmake.base.progress import say
from talosmake.inventory import known_facts
from talosmake.inventory.model import Role

# Talos's own schema of machine configs; set-up takes it from a Go module that talosctl is made of.
TALOS = Path(sys.prefix) / "share/talos-schema/config.schema.json"
_CONFIG = ROOT / "config/schemas/config.schema.yaml"
DIRECTORY = Path("rendered_configs/schemas")
PATCH = DIRECTORY / "patch.schema.json"
CONFIG = DIRECTORY / "config.schema.json"
FACTS = DIRECTORY / "facts.schema.json"
# Beside them stand Cilium's values and manifests, which are no patches.
PATCHES = (
    "patches/common.yaml",
    "patches/envs/*/common.yaml",
    *(f"patches/envs/*/{role.directory}/common.yaml" for role in Role),
    *(f"patches/envs/*/{role.directory}/*/*.yaml" for role in Role),
)

_FACT = {"type": "string", "pattern": r"\$\{[A-Z][A-Z0-9_]*\}"}
_DELETE = {"enum": ["delete"], "description": "Delete this mapping of an earlier layer."}


def patch_schema(talos: dict[str, Any]) -> dict[str, Any]:
    """The schema of a patch, from Talos's schema of a whole machine config.

    A patch is a part of a config, so nothing is required; ``$patch: delete`` may stand in any
    mapping (Talos docs: Configuration Patches), and ``${NAME}`` in place of any value.
    """
    kinds = {}
    config = {}
    for choice in talos["oneOf"]:
        definition = talos["$defs"][choice["$ref"].rpartition("/")[2]]
        if "kind" in definition["properties"]:
            kinds[definition["properties"]["kind"]["enum"][0]] = choice
        else:
            config = choice
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A patch of a Talos machine config",
        "$defs": {name: _loosened(value) for name, value in talos["$defs"].items()},
        "if": {"required": ["kind"]},
        "then": {
            "properties": {"kind": {"enum": sorted(kinds)}},
            "allOf": [
                {"if": {"properties": {"kind": {"const": kind}}}, "then": choice}
                for kind, choice in kinds.items()
            ],
        },
        "else": config,
    }


def _loosened(schema: Any) -> Any:
    """A part of the schema with nothing required, and facts allowed where no text is."""
    if isinstance(schema, list):
        return [_loosened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "required"}
    for key in ("properties", "patternProperties"):
        if key in kept:
            kept[key] = {name: _loosened(value) for name, value in kept[key].items()}
    for key in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
        if key in kept:
            kept[key] = _loosened(kept[key])
    if "properties" in kept:
        kept["properties"]["$patch"] = _DELETE
    if "enum" in kept or "pattern" in kept or kept.get("type") in ("integer", "boolean", "number"):
        told = {
            key: kept[key] for key in ("title", "description", "markdownDescription") if key in kept
        }
        return {**told, "anyOf": [kept, _FACT]}
    return kept


def config_schema(config: dict[str, Any]) -> dict[str, Any]:
    """The schema of config.yaml, with the facts that talosmake knows below ``defaults``."""
    known = {key: value for key, value in known_facts.schema().items() if key != "$schema"}
    own = config["properties"]["defaults"]
    return {**config, "properties": {**config["properties"], "defaults": {**known, **own}}}


def editor_settings() -> dict[str, Any]:
    """What switches the schemas on in an editor with yaml-language-server, e.g. VS Code."""
    return {"yaml.schemas": {str(PATCH): list(PATCHES), str(CONFIG): "config/config.yaml"}}


def write() -> None:
    """The target ``schemas``: write the schemas, and say how an editor finds them.

    :raises ToolError: when Talos's own schema is not there.
    """
    try:
        talos = json.loads(TALOS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ToolError(
            f"{TALOS}: Talos's schema of machine configs is not there",
            hint="Run: make setup (it needs Go for this, or the Go that it fetches itself)",
        ) from None
    config = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
    files.private_directory(DIRECTORY.parent)
    DIRECTORY.mkdir(exist_ok=True)
    made = {PATCH: patch_schema(talos), CONFIG: config_schema(config), FACTS: known_facts.schema()}
    for path, schema in made.items():
        files.write_atomically(path, json.dumps(schema, indent=1) + "\n")
    settings = json.dumps(editor_settings(), indent=2)
    say(
        f"{', '.join(map(str, made))}: written\n"
        "VS Code with the YAML extension: add this to .vscode/settings.json\n"
        f"{settings}\n"
        "Any editor with yaml-language-server, for one file: make this its first line\n"
        f"# yaml-language-server: $schema=<way to the project>/{PATCH}"
    )
