from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from talosmake.base.errors import PatchError
from talosmake.patches.inject import inject, names

PATH = Path("common.yaml")
NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True)


def test_each_reference_is_replaced() -> None:
    facts = {"NODE_IP": "10.0.1.11", "VIP": "10.0.1.10"}
    text = "a: ${NODE_IP}/24\nb: [${VIP}, ${NODE_IP}]\n"
    assert inject(text, facts, PATH) == "a: 10.0.1.11/24\nb: [10.0.1.10, 10.0.1.11]\n"


def test_two_dollars_give_a_literal_reference() -> None:
    assert inject("$${VIP} ${VIP} $$${VIP}", {"VIP": "x"}, PATH) == "${VIP} x $${VIP}"


@pytest.mark.parametrize(
    "text", ["$VIP", "${vip}", "${Vip}", "${VIP:-x}", "{{ .VIP }}", "$(VIP)", "${}", "${ VIP }"]
)
def test_other_syntaxes_are_left_alone(text: str) -> None:
    assert inject(text, {"VIP": "x", "vip": "y"}, PATH) == text


def test_unknown_names_are_all_told_with_line_and_near_misses() -> None:
    with pytest.raises(PatchError) as error:
        inject("a: ${NODE_PI}\n\nb: ${ZZZ}\n", {"NODE_IP": "1", "NODE_ID": "2"}, PATH)
    assert error.value.message == (
        "common.yaml:1: ${NODE_PI} is not known; did you mean NODE_IP or NODE_ID?\n"
        "common.yaml:3: ${ZZZ} is not known"
    )
    assert "cluster.env" in error.value.hint


def test_values_of_facts_are_not_in_the_message() -> None:
    with pytest.raises(PatchError) as error:
        inject("${TOKEM}", {"TOKEN": "hunter2hunter2"}, PATH)
    assert "hunter2" not in str(error.value)


@given(st.text(), st.dictionaries(NAMES, st.text()))
def test_text_without_a_reference_is_unchanged(text: str, facts: dict[str, str]) -> None:
    assume(not re.search(r"\$\{[A-Z]", text))
    assert inject(text, facts, PATH) == text


@given(NAMES, st.text(), st.text(), st.text())
def test_escaped_reference_stays_whatever_the_facts(
    name: str, value: str, before: str, after: str
) -> None:
    assume("$" not in before + after)
    assume("#" not in before)  # comments stay as they are
    text = f"{before}$${{{name}}}{after}"
    assert inject(text, {name: value}, PATH) == f"{before}${{{name}}}{after}"
    assert inject(text, {}, PATH) == f"{before}${{{name}}}{after}"


@given(NAMES, NAMES, st.text())
def test_values_are_not_looked_at_again(name: str, other: str, around: str) -> None:
    value = f"{around}${{{other}}}$${{{name}}}\\1"
    assert inject(f'"${{{name}}}"', {name: value}, PATH) == f'"{value}"'


@pytest.mark.parametrize(
    ("text", "value", "what"),
    [
        ("gateway: ${VALUE}", "", "is empty"),
        ("gateway: ${VALUE} # why", " ", "is empty"),
        ("- ${VALUE}", "", "is empty"),
        ("[a, ${VALUE}]", "", "is empty"),
        ("a: ${VALUE}", "#ab", "has a # that starts a comment there"),
        ("a: {b: ${VALUE}}", "#ab", "has a # that starts a comment there"),
        ("a: ${VALUE}", "ab #cd", "has a # that starts a comment there"),
        ("a: ${VALUE}", "[ab] #cd", "has a # that starts a comment there"),
        ("a: ab ${VALUE}", "#cd", "has a # that starts a comment there"),
        ("a: ${OTHER}${VALUE}", " #cd", "has a # that starts a comment there"),
    ],
)
def test_value_of_which_yaml_would_lose_something(text: str, value: str, what: str) -> None:
    with pytest.raises(PatchError) as error:
        inject(f"# one\n{text}\n", {"VALUE": value, "OTHER": "x"}, PATH)
    assert error.value.message == f"common.yaml:2: ${{VALUE}} {what}"
    assert error.value.hint == (
        'Put it in quotes, "${VALUE}", or set another value in cluster.env (for the environment) '
        "or node.env (for one node)."
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'${VALUE}'", ""),
        ('"${VALUE}"', "ab #cd"),
        ("'a ${VALUE}'", "#ab"),
        ("|\n  ${VALUE}\n  #b", "#ab"),
        ("ab${VALUE}", "#cd"),
        ("ab${VALUE}", ""),
        ("${VALUE}", "ab#cd"),
        ("${VALUE}", "{a: 'b #c'}"),
        ("${VALUE}", "'b #c'"),
        ("$${VALUE}", ""),
    ],
)
def test_value_that_is_whole_where_it_stands(text: str, value: str) -> None:
    given = f"a: {text}\n"
    written = given.replace("$${VALUE}", "\0").replace("${VALUE}", value)
    assert inject(given, {"VALUE": value}, PATH) == written.replace("\0", "${VALUE}")


COMMENTS = [
    "# ${OLD}\na: 1\n",
    "a: 1 # ${OLD}, ${NEW} and $${NEW}\n",
    "a:\n  - x\n  # ${OLD}\n  - y\n",
    "a: {b: 1, # ${OLD}\n  c: 2}\n",
    "a: |  # ${OLD}\n  text\n",
    "a: |-\n  text\n # ${OLD}\nb: 2\n",
    "a: 'x' # ${OLD}\n---\n# ${OLD}\nb: &c 1 # ${OLD}\n",
    "a: \u00e4\U0001f600 # ${OLD}\n",
    "\ufeffa: 1 # ${OLD}\n",
    "a: 1 # ${OLD}\r\nb: 2\r\n# ${OLD}\r\n",
    "contents: |\n    # ${OLD}\n    kind: A # ${OLD}\n\n    ---\n    a: |\n      b\n    # ${OLD}\n",
    "# ${OLD}",
]


@pytest.mark.parametrize("text", COMMENTS)
def test_comments_stay_as_they_are(text: str) -> None:
    assert inject(text, {"NEW": "x"}, PATH) == text
    beside = f"z: ${{NEW}} # ${{OLD}}\n{text.lstrip(chr(0xFEFF))}"
    assert inject(beside, {"NEW": "x"}, PATH) == beside.replace("${NEW}", "x", 1)


@pytest.mark.parametrize(
    "text",
    [
        "a: 'x # ${NEW}'\n",
        'a: "x # ${NEW}"\n',
        "a: x#${NEW}\n",
        "a: |\n  # ${NEW}\n",
        "a: >-\n  x # ${NEW}\n",
        "content: |\n  #!/bin/sh\n  # ${NEW}\n",
        "a: '\n  # ${NEW}'\n",
        "contents: |\n  a: 'x # ${NEW}'\n  b: |\n    # ${NEW}\n",
        "${NEW}: 1 # x\n",
        "# x\na: ${NEW} # y\n",
    ],
)
def test_what_only_looks_like_a_comment_is_none(text: str) -> None:
    assert inject(text, {"NEW": "x"}, PATH) == text.replace("${NEW}", "x")


def test_name_in_a_comment_and_in_a_value() -> None:
    text = "a: ${NEW} # was ${OLD}\nb: ${NWE} # ${OLD}\n"
    with pytest.raises(PatchError) as error:
        inject(text, {"NEW": "x"}, PATH)
    assert error.value.message == "common.yaml:2: ${NWE} is not known; did you mean NEW?"
    assert names(text) == {"NEW", "NWE"}


def test_comments_of_a_text_that_is_no_yaml_are_not_known() -> None:
    with pytest.raises(PatchError):
        inject("a: 'x\n# ${OLD}\n", {}, PATH)
