"""Tables of the documentation are those that the schemas and the targets make."""

from __future__ import annotations

import re

import pytest
import yaml

from talosmake.cli import reference, targets
from talosmake.inventory import canonical, known_facts, known_keys
from talosmake.inventory.known_facts import Fact
from tests.project import REPOSITORY

PAGE = (REPOSITORY / "docs/reference.md").read_text()


def test_pages_are_as_they_would_be_made() -> None:
    assert [path.name for path, _ in reference.pages()] == [], "run: make reference"


def test_all_facts_keys_and_targets_are_in_the_reference() -> None:
    rows = set(re.findall(r"^\| `([^` ]+)", PAGE, re.M))
    assert rows >= known_facts.facts().keys()
    assert rows >= set(known_keys.names())
    assert rows >= targets.named().keys()


def test_what_is_not_as_it_would_be_is_made_anew() -> None:
    stale = PAGE.replace("| `GOAL` | `validated` |", "| `GOAL` | `applied` |")
    assert stale != PAGE
    assert reference.filled(stale) == PAGE
    assert reference.filled("no table\n") == "no table\n"


@pytest.mark.parametrize("marker", ["facts nowhere", "nothing"])
def test_a_table_that_there_is_none_of_is_no_empty_one(marker: str) -> None:
    with pytest.raises(KeyError):
        reference.filled(f"<!-- table: {marker} -->\n<!-- end of table -->\n")


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        ("{description: a b, x-required: true, examples: [v1]}", "required | a b, e.g. `v1`"),
        ("{description: how, enum: [x, y, z], default: y}", "`y` | how: `x`, `y` or `z`"),
        ('{description: "only `x`", enum: [x, y], default: x}', "`x` | only `x`"),
        ("{description: w, type: boolean, default: false}", "`false` | w"),
        (
            "{description: t, type: number, exclusiveMinimum: 0, maximum: 9, default: 2, "
            "x-unit: seconds}",
            "`2` | t (seconds: above 0, to 9)",
        ),
        ("{description: n, type: integer, minimum: 1, maximum: 9, default: 2}", "`2` | n (1 to 9)"),
        ("{description: a|b, x-default: as `C`}", "as `C` | a\\|b"),
        ("{description: none known}", " | none known"),
    ],
)
def test_rows(monkeypatch: pytest.MonkeyPatch, entry: str, row: str) -> None:
    fact = Fact("NAME", yaml.safe_load(entry))
    monkeypatch.setattr(known_facts, "facts", lambda: {"NAME": fact})
    page = "<!-- table: facts NAME -->\n<!-- end of table -->\n"
    assert reference.filled(page).splitlines()[3] == f"| `NAME` | {row} |"


def test_every_format_says_how_it_may_be_written() -> None:
    assert reference.SPELLINGS.keys() == canonical.FORMS.keys()
    assert {fact.format for fact in known_facts.facts().values()} - {""} == canonical.FORMS.keys()


@pytest.mark.parametrize(
    ("format_", "written", "form"),
    [
        ("image-factory", "https://factory.example.com/", "factory.example.com"),
        ("address-range", "10.0.1.100 - 10.0.1.199", "10.0.1.100-10.0.1.199"),
        ("endpoint", "Node.example.com:50000", "node.example.com"),
        ("https-endpoint", "HTTPS://[FD00:0::10]:6443/", "https://[fd00::10]:6443"),
    ],
)
def test_what_the_table_says_is_taken(format_: str, written: str, form: str) -> None:
    assert canonical.FORMS[format_](written) == form
    assert f"`{form}`" in reference.SPELLINGS[format_][0]
