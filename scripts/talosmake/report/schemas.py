"""Editor help: JSON schemas for the files that a person writes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talosmake.base import files, talosctls
from talosmake.base.errors import TalosmakeError, ToolError
from talosmake.base.program import set_up
from talosmake.base.progress import say
from talosmake.base.talosctls import Minor
from talosmake.inventory import envfile, known_facts, known_keys, names
from talosmake.inventory.known_facts import Fact
from talosmake.inventory.model import Role

# Talos's own schema of machine configs, by minor version; set-up takes it from a Go module that
# talosctl is made of.
TALOS = Path(sys.prefix) / "share/talos-schema"
DIRECTORY = Path("rendered_configs/schemas")
PATCH = DIRECTORY / "patch.schema.json"
CONFIG = DIRECTORY / "config.schema.json"
FACTS = DIRECTORY / "facts.schema.json"
# Beside them stand Cilium's values and manifests, which are no patches.
_OF_AN_ENVIRONMENT = (
    "common.yaml",
    *(f"{role.directory}/common.yaml" for role in Role),
    *(f"{role.directory}/*/*.yaml" for role in Role),
)
_SHARED = "patches/common.yaml"
PATCHES = (_SHARED, *(f"patches/envs/*/{name}" for name in _OF_AN_ENVIRONMENT))

_FACT = {"type": "string", "pattern": r"\$\{[A-Z][A-Z0-9_]*\}"}
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_LIMITS = ("minimum", "exclusiveMinimum", "maximum")
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


def facts_schema() -> dict[str, Any]:
    """The schema of facts as an editor takes it: of text in env files, or values in config.yaml."""
    known = {name: _fact(fact) for name, fact in known_facts.facts().items()}
    return {**known_facts.schema(), "properties": known}


def _fact(fact: Fact) -> dict[str, Any]:
    """One fact: what may be written, with text for numbers and booleans as well."""
    text = _LINK.sub(r"\1", str(fact.entry["description"])).replace("`", "")
    told = {"description": f"{text[0].upper()}{text[1:]}.", **_offered(fact)}
    if fact.kind == "boolean":
        return {**told, "enum": [True, False, "true", "false"]}
    if fact.kind in ("integer", "number"):
        limits = {key: fact.entry[key] for key in _LIMITS if key in fact.entry}
        written = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
        return {**told, "anyOf": [{"type": fact.kind, **limits}, written]}
    if fact.kind == "array":
        return {**told, "type": ["string", "integer"], "pattern": r"^ *([0-9]+ *)*$"}
    # What has several spellings is checked where it is read, once it has its one form.
    if "pattern" in fact.entry and not fact.format:
        pattern = fact.entry["pattern"]
        told["pattern"] = f"^$|({pattern})" if fact.may_be_empty else pattern
        told["patternErrorMessage"] = fact.entry.get("x-hint", f"Write it as in {fact.example}")
    return {**told, "enum": fact.entry["enum"]} if "enum" in fact.entry else told


def _offered(fact: Fact) -> dict[str, Any]:
    """What an editor completes: the default, and examples without the quotes of an env file."""
    offered: dict[str, Any] = {}
    if fact.default is not None and fact.kind != "array":
        offered["default"] = fact.default
    if fact.example:
        offered["examples"] = [str(one).strip('"') for one in fact.entry["examples"]]
    return offered


def config_schema(config: dict[str, Any]) -> dict[str, Any]:
    """The schema of config.yaml, with the facts that talosmake knows below ``defaults``."""
    known = {key: value for key, value in facts_schema().items() if key != "$schema"}
    own = config["properties"]["defaults"]
    return {**config, "properties": {**config["properties"], "defaults": {**known, **own}}}


def talos_schema(minor: Minor) -> dict[str, Any]:
    """Talos's own schema of machine configs of a minor version.

    :raises ToolError: when it is not there.
    """
    path = TALOS / talosctls.text(minor) / "config.schema.json"
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ToolError(
            f"{path}: Talos's schema of machine configs is not there",
            hint=f"Run: {set_up()} (it needs Go for this, or the Go that it fetches itself)",
        ) from None
    return loaded


def patches_of_schemas(environments: Mapping[str, Minor]) -> dict[Path, tuple[Minor, list[str]]]:
    """For each schema of patches which Talos it is of, and of which files it is.

    What all environments share is of the oldest Talos among them.

    :param environments: the minor version of each one's talosctl.
    """
    minors = sorted(set(environments.values())) or [talosctls.minor(talosctls.default())]
    if len(minors) == 1:
        return {PATCH: (minors[0], list(PATCHES))}
    found: dict[Path, tuple[Minor, list[str]]] = {}
    for minor in minors:
        path = DIRECTORY / f"patch-{talosctls.text(minor)}.schema.json" if found else PATCH
        own = [
            f"patches/envs/{name}/{pattern}"
            for name, one in environments.items()
            if one == minor
            for pattern in _OF_AN_ENVIRONMENT
        ]
        found[path] = (minor, own if found else [_SHARED, *own])
    return found


def _minors() -> dict[str, Minor]:
    """The minor version of each environment's talosctl, of those whose cluster.env tells it."""
    found = {}
    for name in names.environment_names():
        try:
            talos = envfile.read(Path("patches/envs") / name / "cluster.env")["TALOS_VERSION"]
        except (TalosmakeError, OSError, KeyError):
            continue
        serving = talosctls.serving(talos)
        if serving:
            found[name] = serving
    return found


def editor_settings(patches: Mapping[Path, tuple[Minor, list[str]]]) -> dict[str, Any]:
    """What switches the schemas on in an editor with yaml-language-server, e.g. VS Code."""
    of_patches = {str(path): patterns for path, (_, patterns) in patches.items()}
    return {"yaml.schemas": {**of_patches, str(CONFIG): "config/config.yaml"}}


def write() -> None:
    """The target ``schemas``: write the schemas, and say how an editor finds them.

    :raises ToolError: when Talos's own schema is not there.
    """
    patches = patches_of_schemas(_minors())
    of_patches = {path: patch_schema(talos_schema(minor)) for path, (minor, _) in patches.items()}
    files.private_directory(DIRECTORY.parent)
    DIRECTORY.mkdir(exist_ok=True)
    made = {**of_patches, CONFIG: config_schema(known_keys.schema()), FACTS: facts_schema()}
    for path, schema in made.items():
        files.write_atomically(path, json.dumps(schema, indent=1) + "\n")
    switched_on = json.dumps(editor_settings(patches), indent=2)
    say(
        f"{', '.join(map(str, made))}: written\n"
        "VS Code with the YAML extension: add this to .vscode/settings.json\n"
        f"{switched_on}\n"
        "Any editor with yaml-language-server, for one file: make this its first line\n"
        f"# yaml-language-server: $schema=<way to the project>/{PATCH}"
    )
