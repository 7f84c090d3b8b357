from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from talosmake.base.errors import InventoryError
from talosmake.inventory import envfile

PATH = Path("cluster.env")
ONE_LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", {}),
        ("# only a comment\n\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("export A=1", {"A": "1"}),
        ("A = 1 \n", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=''", {"A": ""}),
        ("A=x # comment", {"A": "x"}),
        ("A=x#y", {"A": "x#y"}),
        ("A='x # y'", {"A": "x # y"}),
        ('A="it\'s"', {"A": "it's"}),
        ("A=x=y", {"A": "x=y"}),
        ("A=two words", {"A": "two words"}),
    ],
)
def test_lines_that_are_read(text: str, facts: dict[str, str]) -> None:
    assert envfile.parse(text, PATH) == facts


@pytest.mark.parametrize("text", ["$HOME", "${HOME}", "`id`", "$(id)", "~", "*"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_nothing_is_expanded(text: str, quote: str) -> None:
    assert envfile.parse(f"A={quote}{text}{quote}", PATH) == {"A": text}


def test_order_is_kept() -> None:
    assert list(envfile.parse("C=1\nA=2\nB=3\n", PATH)) == ["C", "A", "B"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB\n", "cluster.env:2: not a KEY=value line, near 'B'"),
        ("# x\n\n\nNODE IP=1\n", "cluster.env:4: not a KEY=value line, near 'NODE IP'"),
        ("A='open\nB=1\n", "cluster.env:1: not a KEY=value line, near 'A'"),
        ("A=1\n\n# x\nA=2\n", "cluster.env:4: A is given twice (first in line 1)"),
        ("A=1\nb=2\n", "cluster.env:2: 'b' is no name for a fact"),
        ("1A=2\n", "cluster.env:1: '1A' is no name for a fact"),
        ("A='1\n2'\n", "cluster.env:1: the value of A goes over several lines"),
        ('A="1\\n2"\n', "cluster.env:1: the value of A goes over several lines"),
    ],
)
def test_mistakes_name_the_line(text: str, message: str) -> None:
    with pytest.raises(InventoryError) as error:
        envfile.parse(text, PATH)
    assert error.value.message == message
    assert error.value.hint


@pytest.mark.parametrize(
    ("name", "suggested"), [("node-ip", "NODE_IP"), ("nodeIp", "NODEIP"), ("1st", "ST")]
)
def test_wrong_name_gets_a_right_one_suggested(name: str, suggested: str) -> None:
    with pytest.raises(InventoryError, match=f"e.g. {suggested}\\."):
        envfile.parse(f"{name}=1", PATH)


def test_value_of_a_wrong_line_is_not_shown() -> None:
    with pytest.raises(InventoryError) as error:
        envfile.parse("A B=hunter2hunter2\n", PATH)
    assert "hunter2" not in str(error.value)


@given(ONE_LINE)
def test_single_quoted_values_come_back_as_they_are(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    assert envfile.parse(f"A='{quoted}'\n", PATH) == {"A": value}


@given(st.text(string.ascii_letters + string.digits + "-_./:@%+,=", min_size=1))
def test_plain_values_need_no_quotes(value: str) -> None:
    assert envfile.parse(f"A={value}", PATH) == {"A": value}


@given(st.text())
def test_any_text_is_facts_or_a_clear_error(text: str) -> None:
    try:
        facts = envfile.parse(text, PATH)
    except InventoryError as error:
        refused = error.message
        event("refused")
    else:
        refused = ""
        assert all(envfile.NAME.fullmatch(name) for name in facts)
        assert not any("\n" in value for value in facts.values())
    assert refused == "" or refused.startswith("cluster.env:")


def test_missing_file_holds_no_facts(tmp_path: Path) -> None:
    assert envfile.read(tmp_path / "node.env") == {}


def test_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "node.env"
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(InventoryError, match=r"node\.env: cannot be read"):
        envfile.read(path)
    with pytest.raises(InventoryError, match="cannot be read"):
        envfile.read(tmp_path)
