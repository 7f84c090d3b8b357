from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.redact import forms_of
from talosmake.patches.patch import parse
from talosmake.render import compare, disclosure
from talosmake.render.disclosure import Secrets
from talosmake.report import diff

NONE = Secrets(frozenset(), frozenset())
MACHINE = ("", "")


def secrets(*values: str, patch: str = "") -> Secrets:
    patches = [parse(patch, Path("a.sops.yaml"), secret=True)] if patch else []
    return disclosure.secrets_in(values, patches)


def shown(config: str, known: Secrets) -> str:
    return disclosure.text(disclosure.redacted(disclosure.parsed(config), known.hides))


def test_secret_by_key_value_and_place() -> None:
    config = """\
machine:
  token: abc
  sysctls:
    kernel.domainname: has-s3cret-in-it
    vm.swappiness: "5"
  certSANs: [plain, "7"]
"""
    known = secrets("s3cret", patch="machine: {sysctls: {vm.swappiness: 5}, certSANs: [7]}")
    assert yaml.safe_load(shown(config, known)) == {
        "machine": {
            "token": "<redacted>",
            "sysctls": {"kernel.domainname": "<redacted>", "vm.swappiness": "<redacted>"},
            # An encrypted patch adds to the list, so all of it may be its own.
            "certSANs": ["<redacted>", "<redacted>"],
        }
    }


def test_place_is_one_documents_own() -> None:
    known = secrets(patch="kind: A\nname: x\nvalue: 5\n")
    assert "value: 5" in shown("kind: A\nname: y\nvalue: 5\n", known)
    assert "value: <redacted>" in shown("kind: A\nname: x\nvalue: 6\n", known)


def test_what_says_which_document_it_is_is_no_place() -> None:
    text = "apiVersion: v1alpha1\nkind: A\nname: x.y\nvalue: {name: 5}\n"
    shown_text = shown(text, secrets(patch=text))
    assert shown_text == ("apiVersion: v1alpha1\nkind: A\nname: x.y\nvalue:\n  name: <redacted>\n")
    # A document without a kind is of machine and cluster, which have no name.
    assert shown("name: x\n", secrets(patch="name: x\n")) == "name: <redacted>\n"


def test_texts_are_redacted_by_the_line() -> None:
    config = "machine:\n  files:\n    - content: |\n        user: me\n          pass: s3cret\n"
    text = shown(config, secrets("first line\ns3cret\n"))
    assert text == ("machine:\n  files:\n  - content: |\n      user: me\n        <redacted>\n")


PLAIN = [
    "17",
    "true",
    "0o644",
    "10.0.0.0/16",
    "fd00::1/64",
    "52:54:00:00:00:11",
    "30s",
    "512Mi",
    "/dev/nvme0n1",
    "/dev/sda",
    "v1.13.0",
    "ghcr.io/siderolabs/installer:v1.13.0",
]
UNSURE = [
    "hunter2",
    "correct-horse-battery-staple",
    "12345678",
    "a1b2c3.0123456789abcdef",
    "user:pw",
    "pass:1",
    "north",
    "/etc/x",
    "MTIzNDU2Nzg5MA==",
    "DEADBEEF",
]


@pytest.mark.parametrize("value", [*PLAIN, ""])
def test_unknown_value_that_is_no_secret_by_its_form(value: str) -> None:
    hides = disclosure.hides_unknown(NONE, ())
    assert not hides(MACHINE, ("machine", "x"), value)
    assert hides(MACHINE, ("machine", "token"), value)


@pytest.mark.parametrize("value", UNSURE)
def test_unknown_value_that_may_be_one(value: str) -> None:
    assert disclosure.hides_unknown(NONE, ())(MACHINE, ("machine", "x"), value)
    assert not disclosure.hides_unknown(NONE, {value})(MACHINE, ("machine", "x"), value)
    # What is known to be secret now is hidden wherever it was in the clear before.
    assert disclosure.hides_unknown(secrets("x" + value), {"x" + value})(
        MACHINE, ("a",), "x" + value
    )


@pytest.mark.parametrize("value", ["https://me:pw@example.org", "TS_AUTHKEY=hunter2"])
def test_secret_by_its_form_is_hidden_also_where_git_has_it_in_the_clear(value: str) -> None:
    assert disclosure.hides_unknown(NONE, {value})(MACHINE, ("machine", "x"), value)
    assert NONE.hides(MACHINE, ("machine", "x"), f"  {value}")


TEXTS = st.text("ab1:-# '\"\n.%&*!|>{}[]", max_size=12)
CONFIGS = st.recursive(
    st.text("ab c", min_size=1, max_size=5) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("xyz", min_size=1), inner),
    max_leaves=12,
).map(lambda value: {MACHINE: {"machine": value}})


@given(CONFIGS, CONFIGS, st.text("ab1:-", min_size=6, max_size=8))
def test_no_secret_is_in_a_diff(old: Any, new: Any, secret: str) -> None:
    for config in (old, new):
        config[MACHINE]["cluster"] = {"id": secret, "x": [f"a {secret} b\nc {secret}"]}
    known = secrets(secret)
    unknown = disclosure.hides_unknown(known, disclosure.clear_lines(new, known.hides))
    lines = diff.compared(old, unknown, new, known.hides)
    assert secret not in "\n".join(lines)
    assert diff.compared(new, known.hides, new, known.hides) == []


@given(CONFIGS)
def test_text_is_yaml_that_says_the_same(config: Any) -> None:
    text = disclosure.text_of(config[MACHINE])
    assert yaml.load(text, Loader=yaml.BaseLoader) == config[MACHINE]  # noqa: S506


@given(CONFIGS, CONFIGS)
def test_a_diff_leads_from_one_to_the_other(old: Any, new: Any) -> None:
    """As patch(1) would apply it, hunk by hunk."""
    before = disclosure.text_of(old[MACHINE]).splitlines()
    after = disclosure.text_of(new[MACHINE]).splitlines()
    result, at = list[str](), 0
    for line in compare.unified(old, new):
        if line.startswith("@@"):
            start, count = map(int, line.split()[1][1:].split(","))
            upto = start - (count > 0)
            result += before[at:upto]
            at = upto
        elif line[0] == "+":
            result.append(line[1:])
        else:
            assert before[at] == line[1:]
            result += [line[1:]] * (line[0] == " ")
            at += 1
    assert [*result, *before[at:]] == after


def test_hidden_values_are_numbered_by_what_they_are() -> None:
    old = disclosure.parsed("machine: {token: one, ca: {key: same}}\n")
    new = disclosure.parsed("machine: {token: two, ca: {key: same}}\n")
    assert diff.compared(old, NONE.hides, new, NONE.hides) == [
        "@@ -1,4 +1,4 @@ machine",
        " machine:",
        "   ca:",
        "     key: <redacted 2>",
        "-  token: <redacted 1>",
        "+  token: <redacted 3>",
    ]


def test_documents_that_come_and_go() -> None:
    old = disclosure.parsed("machine: {a: b}\n---\nkind: A\nname: x\nmtu: 1\n")
    new = disclosure.parsed("machine: {a: b}\n---\nkind: B\nmtu: 2\n")
    assert diff.compared(old, NONE.hides, new, NONE.hides) == [
        "@@ -1,3 +0,0 @@ A x",
        "-kind: A",
        "-mtu: 1",
        "-name: x",
        "@@ -0,0 +1,2 @@ B",
        "+kind: B",
        "+mtu: 2",
    ]


def test_forms_of_secrets_are_made_once_for_many_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle has more than a thousand, and a finding of lint's is two texts for each node.

    Nodes with the same secrets share them; another secret has forms of its own.
    """
    made = Mock(wraps=forms_of)
    monkeypatch.setattr(disclosure, "forms_of", made)
    known = secrets("s3cret-value")
    assert [known.without(text) for text in ("s3cret-value", "a s3cret-... b", "plain")] == [
        "<redacted>",
        "a <redacted> b",
        "plain",
    ]
    assert secrets("s3cret-value").without("s3cret-value") == "<redacted>"
    made.assert_called_once()
    assert secrets("0ther-value").without("s3cret-value 0ther-value") == "s3cret-value <redacted>"
