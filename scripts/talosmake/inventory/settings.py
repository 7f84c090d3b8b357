"""config/config.yaml and ``--config``: read, checked, and joined with environments' facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from talosmake.base import merge
from talosmake.base.errors import ConfigError
from talosmake.base.program import ROOT
from talosmake.inventory import environments, known_facts, known_keys, places, repository_format
from talosmake.inventory.fact_values import choice, place_in_config
from talosmake.inventory.model import Environment
from talosmake.inventory.names import ALL
from talosmake.patches import placeholders

FILE = places.CONFIG
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Config:
    """What the caller and config/config.yaml say.

    :ivar env: the environment to work on, or ``all``; None when nobody named one.
    :ivar goal: the caller's goal, which overrides each environment's own; None for theirs.
    :ivar strict: whether what lint finds is an error, and an artifact of uncommitted changes.
    :ivar confirm: what may be destroyed: an environment, or a node; "" for nothing.
    :ivar disks: whether disks are destroyed with their machines.
    :ivar node: the one node to work on, for targets that take one; None for all.
    :ivar path: the part of a config to explain, e.g. ``machine.network``; "" for all of it.
    :ivar against: what ``diff`` compares Git with: ``live`` or ``applied``.
    :ivar promotes: the two environments that ``promote`` compares, instead of ``env``.
    :ivar live: whether ``report`` asks the nodes.
    :ivar submit: whether ``schematics`` registers them at the Image Factory.
    :ivar artifact: the file that ``deploy`` takes the configs from; None to render them.
    :ivar given: the caller's part of all this, as given.
    """

    env: str | None
    goal: str | None
    workers_at_once: int
    bundle: str
    defaults: Mapping[str, str]
    strict: bool = False
    confirm: str = ""
    disks: bool = False
    node: str | None = None
    path: str = ""
    against: str = "live"
    promotes: tuple[str, str] | None = None
    live: bool = False
    submit: bool = False
    artifact: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


def read(overrides: Mapping[str, Any]) -> Config:
    """The workflow's defaults, the project's config/config.yaml, and ``--config``, later ones win.

    :param overrides: what ``--config`` and ``--configfile`` give.
    :raises ConfigError: for an unknown key or a wrong value, and in a repository of a newer
        talosmake's format.
    """
    repository_format.read()
    layers = [shipped()]
    if FILE.resolve() != ROOT / FILE:
        layers.append(_file(FILE))
    values: dict[str, Any] = {}
    for layer in (*layers, dict(overrides)):
        values = merge.merged(values, layer)
    _check(values, overrides)
    defaults = {name: _text(name, value) for name, value in values.get("defaults", {}).items()}
    _check_defaults(defaults)
    return Config(
        env=values.get("env"),
        goal=values.get("goal"),
        workers_at_once=values["workers_at_once"],
        bundle=values["bundle"],
        defaults=defaults,
        strict=values.get("strict") in ("true", True),
        confirm=values.get("confirm", ""),
        disks=values.get("disks") in ("yes", True),
        node=values.get("node"),
        path=values.get("path", ""),
        against=values.get("against", "live"),
        promotes=_promotes(values),
        live=values.get("live") in ("true", True),
        submit=values.get("submit") in ("true", True),
        artifact=values.get("artifact"),
        given=dict(overrides),
    )


def _file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path}: must be keys and values")
    return content or {}


def _text(name: str, value: str | float | bool) -> str:
    """A default as it would stand in an env file.

    :raises ConfigError: for a version that YAML took for a number, and 1.10 for 1.1.
    """
    if isinstance(value, float) and name.endswith(("_VERSION", "_CONTRACT")):
        raise ConfigError(
            f"defaults.{name}: {value} is a number to YAML, which has 1.10 and 1.1 for the same",
            hint=f'Write it in quotes: {name}: "{value}"',
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_defaults(defaults: Mapping[str, str]) -> None:
    """As in env files, no value may name another fact."""
    for name, value in defaults.items():
        if "$" in value or "{{" in value:
            known = known_facts.names() | defaults.keys()
            where = place_in_config("defaults", name) or f"{FILE} or --config"
            placeholders.check_value(name, value, where, known)


def shipped() -> dict[str, Any]:
    """What holds where neither a project nor a caller says anything."""
    return _file(ROOT / FILE)


def _check(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    known = known_keys.names()
    for key in values:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise ConfigError(
                f"{_place([key], overrides)}{key}: no key of {FILE} or --config"
                + (f"; did you mean {near[0]}?" if near else ""),
                hint=f"There are: {', '.join(known)}",
            )
    error = best_match(Draft202012Validator(known_keys.schema()).iter_errors(values))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path)
        raise ConfigError(
            f"{_place(error.absolute_path, overrides)}{where}: {_why(error)}",
            hint=f"Set in {FILE} or by --config; see its comments.",
        )


def _place(keys: Iterable[str | int], overrides: Mapping[str, Any]) -> str:
    """What goes before a key: the file and line that give it, or ``--config``."""
    way = tuple(keys)
    if way and way[0] in overrides:
        return "--config "
    found = place_in_config(*way)
    return f"{found}: " if found else ""


def _why(error: ValidationError) -> str:
    """Of a wrong word what could stand there; else what jsonschema says."""
    words = error.validator_value
    if error.validator != "enum" or not isinstance(words, list):
        return error.message
    # `true` stands there twice, as YAML has it and as the command line gives it.
    shown = list(dict.fromkeys(str(word).lower() for word in words))
    return f"{error.instance!r} {choice(error.instance, shown)}"


def _promotes(values: Mapping[str, Any]) -> tuple[str, str] | None:
    given = (values.get("from"), values.get("to"))
    if given == (None, None):
        return None
    if None in given or given[0] == given[1] or ALL in given:
        raise nothing_to_promote()
    return str(given[0]), str(given[1])


def nothing_to_promote() -> ConfigError:
    """The error where it is not clear which two environments to compare."""
    return ConfigError(
        "promote compares two environments, and they are not both given",
        hint="Run:  snakemake promote --config from=dev to=prod",
    )


def selected(config: Config) -> list[str]:
    """The names of the environments to work on."""
    if config.promotes:
        return [name for each in config.promotes for name in environments.selected(each)]
    return environments.selected(config.env)


def environment(config: Config, name: str) -> Environment:
    """An environment with the workflow's defaults and the caller's goal."""
    return environments.load(name, config.defaults, config.goal)


def limits(config: Config) -> dict[str, int]:
    """How many of each are worked on at a time, as Snakemake resources."""
    return {"control_plane": 1, "worker": config.workers_at_once}
