"""What is made of the schemas and of the targets: tables in docs/, words of shells' completion.

It stands between ``<!-- table: … -->`` and ``<!-- end of table -->`` in docs/*.md, and between
``# table: …`` and ``# end of table`` in share/completion (make reference).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from talosmake.base.program import ROOT
from talosmake.cli import targets
from talosmake.inventory import known_facts, known_keys, settings
from talosmake.inventory.known_facts import Fact

DOCS = ROOT / "docs"
COMPLETION = ROOT / "share/completion"
_BLOCK = re.compile(
    r"(<!-- table: (?P<page>.+) -->\n)(?:.*\n)*?(<!-- end of table -->\n)"
    r"|( *# table: (?P<shell>.+)\n)(?:.*\n)*?( *# end of table\n)"
)


# Of each format of facts (talosmake.inventory.canonical): its one form, and how it may be written.
_ADDRESS = ("`fd00::11`", "in capitals, IPv6 in any length")
_NAME = ("small letters", "in capitals, with a dot at the end")
SPELLINGS = {
    "mac": ("`52:54:00:ab:cd:ef`", "in capitals, with `-`, `.` or nothing between"),
    "uuid": ("`4c4c4544-0042-3510-8052-b4c04f4d3332`", "in capitals, without `-`, in braces"),
    "address": _ADDRESS,
    "address-range": ("`10.0.1.100-10.0.1.199`", "with blanks around the `-`"),
    "endpoint": (
        "`fd00::11`, `node.example.com`",
        "as an address; in capitals, with `:50000`",
    ),
    "https-endpoint": ("`https://[fd00::10]:6443`", "in capitals, with a `/` at the end"),
    "image-factory": (
        "`factory.example.com`",
        "after `https://`, with a `/` at the end",
    ),
    "network": ("`10.0.1.0/24`", "with a netmask"),
    "version-with-v": ("`v1.13.0`", "without v"),
    "contract": ("`v1.13`", "without v, with three numbers"),
    "version": ("`1.36.0`", "with v"),
    "sha256": ("64 digits `0-9a-f`", "in capitals, after `sha256:`"),
    "fingerprint": ("base64", "in hex, of the same SHA-256"),
    "host-name": _NAME,
    "domain": _NAME,
}


def filled(text: str) -> str:
    """A page with its tables made again (pure).

    :raises KeyError: for a table or a fact that there is none of.
    """

    def made(block: re.Match[str]) -> str:
        kind, *names = (block["page"] or block["shell"]).split()
        lines = _TABLES[kind](names)
        first, last = (block[1], block[3]) if block["page"] else (block[4], block[6])
        return "".join((first, *(f"{line}\n" for line in lines), last))

    return _BLOCK.sub(made, text)


def pages() -> Iterator[tuple[Path, str]]:
    """Each page that is not as it would be made, and how it would be."""
    for path in sorted((*DOCS.glob("*.md"), *COMPLETION.iterdir())):
        text = path.read_text(encoding="utf-8")
        if (wanted := filled(text)) != text:
            yield path, wanted


def _facts(names: Iterable[str]) -> Iterator[str]:
    """A table of facts: of those that have one of the names for their table, and of single ones."""
    yield from ("| | without it | |", "|---|---|---|")
    known = known_facts.facts()
    for name in names:
        in_table = [fact for fact in known.values() if fact.table == name]
        for fact in in_table or [known[name]]:
            yield _row(f"`{fact.name}`", _default(fact), _description(fact))


def _default(fact: Fact) -> str:
    if fact.is_required:
        return "required"
    if fact.kind == "array":
        return "none"
    return str(fact.entry.get("x-default", "")) or _value(fact.default)


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _description(fact: Fact) -> str:
    text = str(fact.entry["description"])
    words = [f"`{word}`" for word in fact.entry.get("enum", ())]
    if words and not any(word in text for word in words):
        text += f": {', '.join(words[:-1])} or {words[-1]}"
    rules = fact.entry.get("items", fact.entry)
    if "maximum" in rules:
        above = "exclusiveMinimum" in rules
        least = f"above {rules['exclusiveMinimum']}," if above else rules["minimum"]
        unit = f"{fact.unit}: " if fact.unit else ""
        text += f" ({unit}{least} to {rules['maximum']})"
    return f"{text}, e.g. `{fact.example}`" if fact.example and fact.example not in text else text


def _forms(_: Iterable[str]) -> Iterator[str]:
    """The table of the facts that are taken in several spellings."""
    yield from ("| | | may be written |", "|---|---|---|")
    for format_, (form, spellings) in SPELLINGS.items():
        facts = [fact for fact in known_facts.facts().values() if fact.format == format_]
        yield _row(", ".join(f"`{fact.name}`" for fact in facts), form, spellings)


def _config(_: Iterable[str]) -> Iterator[str]:
    """The table of the keys of config.yaml and ``--config``."""
    yield from ("| | without it | |", "|---|---|---|")
    shipped = settings.shipped()
    for key, entry in known_keys.schema()["properties"].items():
        default = "" if key == "defaults" else _value(shipped.get(key))
        words = [f"`{word}`" for word in known_keys.words(key)]
        of = [
            f"`{target.name}`" for target in targets.TARGETS if key in target.keys and target.name
        ]
        parts = [entry["description"].rstrip(".")]
        if words:
            parts.append(f"{', '.join(words[:-1])} or {words[-1]}")
        yield _row(f"`{key}`", default, ": ".join(parts) + (f" ({', '.join(of)})" if of else ""))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _targets(_: Iterable[str]) -> Iterator[str]:
    return targets.table()


def _keys() -> list[str]:
    """The keys that a command line may hold; mappings stand in config.yaml."""
    known = known_keys.schema()["properties"].items()
    return [f"{key}=" for key, entry in known if entry.get("type") != "object"]


def _choices() -> dict[str, tuple[str, ...]]:
    """The keys that take one of a few words, and the words."""
    return {key: words for key in known_keys.names() if (words := known_keys.words(key))}


def _bash(names: Iterable[str]) -> Iterator[str]:
    if "values" in names:
        for key, words in _choices().items():
            yield f"    {key}=*) candidates=({' '.join(words)}) ;;"
    else:
        yield f"  local keys=({' '.join(_keys())})"
        yield f"  local targets=({' '.join(targets.named())})"


def _zsh(names: Iterable[str]) -> Iterator[str]:
    if "values" in names:
        for key, words in _choices().items():
            yield from (f"  elif compset -P '{key}='; then", f"    compadd -- {' '.join(words)}")
    else:
        yield "  local -a keys targets"
        yield f"  keys=({' '.join(_keys())})"
        yield f"  targets=({' '.join(targets.named())})"


def _fish(_: Iterable[str]) -> Iterator[str]:
    values = [f"{key}={word}" for key, words in _choices().items() for word in words]
    yield f"    set -l values {' '.join(values)}"
    yield f"    set -l targets {' '.join(targets.named())}"


_TABLES: dict[str, Callable[[Iterable[str]], Iterator[str]]] = {
    "facts": _facts,
    "config": _config,
    "forms": _forms,
    "targets": _targets,
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}


def main() -> None:
    """Write the pages whose tables have changed."""
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
