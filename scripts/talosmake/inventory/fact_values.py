"""The value of one fact: as its entry in the schema has it, or an error that says where and why.

jsonschema checks it. What is said of a wrong value comes from the entry (``x-wrong``, ``x-hint``),
else from the rule of the schema that it breaks. Rules about several facts are not known here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from talosmake.base.errors import InventoryError
from talosmake.base.program import ROOT
from talosmake.inventory import canonical, envfile, known_facts, places
from talosmake.inventory.known_facts import Fact
from talosmake.patches import positions

_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a value, and what to do."""

    why: str
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """Facts as they are given, to be read by their names with the types that they have.

    A fact that is not given, or without a value where the schema allows that, has its default.

    :ivar given: in the one form that each has.
    :ivar files: where they may stand, the nearest first: node.env, cluster.env.
    """

    given: Mapping[str, str]
    files: tuple[Path, ...]

    def text(self, name: str) -> str:
        """A text, or one word of several; "" where it is not given and has no default."""
        return str(self._value(name) or "")

    def yes(self, name: str) -> bool:
        """Whether a boolean is true."""
        return bool(self._value(name))

    def number(self, name: str) -> float:
        """A number, in the unit of its entry."""
        return float(self._value(name))

    def whole(self, name: str) -> int:
        """A whole number, in the unit of its entry."""
        return int(self._value(name))

    def whole_numbers(self, name: str) -> tuple[int, ...]:
        """Whole numbers with blanks between, in the unit of its entry."""
        return tuple(int(one) for one in self._value(name))

    def wrong(self, name: str, why: str, hint: str = "") -> InventoryError:
        """The error for a fact: where it stands, what it is, why it is wrong, what to do."""
        text = self.given.get(name)
        if text is None:
            return InventoryError(f"{self.files[-1]}: {name} {why}", hint=hint)
        colon = "" if why.startswith("is ") else ":"
        return InventoryError(f"{self.place(name)}: {name}={text!r}{colon} {why}", hint=hint)

    def place(self, name: str) -> str:
        """Where a fact is given, for messages."""
        return place(name, *self.files)

    def _value(self, name: str) -> Any:
        fact = known_facts.facts()[name]
        text = self.given.get(name)
        if text is None or (not text and fact.may_be_empty):
            return fact.default
        value = parsed(fact, text)
        if wrong := problem(fact, value):
            raise self.wrong(name, wrong.why, wrong.hint)
        return value


def place(name: str, *files: Path) -> str:
    """Where a fact is given, for messages: ``FILE:LINE``; the first file where nobody can tell.

    :param files: env files, the nearest first; behind them comes config/config.yaml.
    """
    for path in files:
        if (found := envfile.place(path, name)) != str(path):
            return found
    return place_in_config("defaults", name) or str(files[0])


def place_in_config(*keys: str | int) -> str:
    """The file and line of config.yaml that give a key: a project's, else the program's; or ""."""
    for path in (places.CONFIG, ROOT / places.CONFIG):
        found = positions.of(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if (0, keys) in found:
            return f"{path}:{found[0, keys].line}"
    return ""


def parsed(fact: Fact, text: str) -> Any:
    """What a text says where it is of the fact's type; else the text itself."""
    if fact.kind == "array":
        return [_whole(part) for part in text.split()]
    if fact.kind == "boolean":
        return _WORDS.get(text, text)
    if fact.kind == "integer":
        return _whole(text)
    return _number(text) if fact.kind == "number" else text


def _whole(text: str) -> int | str:
    """A whole number, in digits alone: patches may name it, and have it as it is written."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _number(text: str) -> float | str:
    """A number; a whole one as such, with all its digits."""
    if isinstance(whole := _whole(text), int):
        return whole
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def problem(fact: Fact, value: Any) -> Wrong | None:
    """What is wrong with a value by the fact's entry; None where nothing is (pure).

    :param value: of the fact's type, or a text that is not of it.
    """
    for validator in _validators(fact.name):
        if not validator.is_valid(value):
            return _said(fact, next(validator.iter_errors(value)))
    return None


@cache
def _validators(name: str) -> tuple[Draft202012Validator, ...]:
    """Of the entry, and of each that it wants to hold as well: faster than as one, with allOf."""
    entry = dict(known_facts.facts()[name].entry)
    parts = entry.pop("allOf", [])
    return tuple(Draft202012Validator(p, format_checker=_formats()) for p in (entry, *parts))


@cache
def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, is_valid in canonical.VALID.items():
        checker.checks(name)(_of_text(is_valid))
    return checker


def _of_text(is_valid: Any) -> Any:
    return lambda value: not isinstance(value, str) or is_valid(value)


def _said(fact: Fact, error: ValidationError) -> Wrong:
    """A broken rule in words: those of the schema that it stands in, else our own."""
    rules: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    hint = str(rules.get("x-hint", ""))
    if "x-wrong" in rules:
        return Wrong(str(rules["x-wrong"]), hint)
    if fact.kind == "array":
        return _said_of_an_array(fact, error)
    if fact.kind in ("integer", "number"):
        return Wrong(f"must be {_range(rules, fact.unit)}", hint)
    if "enum" in rules or fact.kind == "boolean":
        return Wrong(choice(error.instance, list(rules.get("enum", _WORDS))), hint)
    return Wrong("is not of the right form", hint or f"Write it as in {fact.name}={fact.example}")


def _said_of_an_array(fact: Fact, error: ValidationError) -> Wrong:
    hint = str(fact.entry.get("x-hint", ""))
    if error.validator == "maxItems":
        return Wrong(f"must be {error.validator_value} numbers at most", hint)
    item = fact.entry["items"]
    return Wrong(f"must be numbers: {error.instance!r} is not {_range(item, fact.unit)}", hint)


def _range(rules: Mapping[str, Any], unit: str) -> str:
    kind = "whole number" if rules.get("type") == "integer" else "number"
    of = f" of {unit}" if unit else ""
    if "exclusiveMinimum" in rules:
        return f"a {kind}{of} above {rules['exclusiveMinimum']}, and {rules['maximum']} at most"
    return f"a {kind}{of} from {rules['minimum']} to {rules['maximum']}"


def choice(given: Any, words: list[str]) -> str:
    """What is wrong where one of several words is wanted."""
    near = get_close_matches(str(given), words, n=1)
    return f"must be one of {', '.join(words)}" + (f"; did you mean {near[0]}?" if near else "")
