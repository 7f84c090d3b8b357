from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.redact import (
    REDACTED,
    redact,
    scalars,
    secret_scalars,
    without_quotes,
    without_unknown_values,
)

# No letter of REDACTED, so that taking one out never makes another.
ALPHABET = "".join(set(string.ascii_letters + string.digits + "+/=") - set(REDACTED))
SECRETS = st.lists(st.text(ALPHABET, min_size=6, max_size=40), min_size=1, max_size=5)


def test_scalars_are_found_at_every_depth() -> None:
    value = {"a": [1, {"b": "x"}], "c": None, "d": True, "e": ("y",)}
    assert list(scalars(value)) == ["1", "x", "True", "y"]


def test_secret_scalars_are_those_that_name_nothing() -> None:
    text = "apiVersion: v1alpha1\nkind: A\nname: ghcr.io\nuser: {name: hunter2, kind: hunter3}\n"
    assert list(secret_scalars(yaml.safe_load(text))) == ["hunter2", "hunter3"]
    machine = {"name": "hunter2", "version": "v1alpha1", "machine": {"type": "worker", "op": "x"}}
    assert list(secret_scalars(machine)) == ["hunter2", "x"]


def test_whole_and_cut_secrets_are_taken_out() -> None:
    text = "cannot unmarshal `abcdefghij` or `abcdefg...` into int"
    assert redact(text, ["abcdefghij"]) == f"cannot unmarshal `{REDACTED}` or `{REDACTED}` into int"


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("user: me\n  pass: hunter2hunter2\n", "about `pass: hunter2hunter2`"),
        ("hunter2\\hunter2", r'about "hunter2\\hunter2"'),
        ('hunter2"hunter2', r'about "hunter2\"hunter2"'),
        ("hünter2hunter2", "about `hünter...`"),
        ("https://me:hunter2@10.9.0.21:bad", "about `hunter2` of me"),
        # A slash ends what could be a name and a password.
        ("https://me:hunter2/x@10.9.0.21", 'invalid port ":hunter2" after host'),
    ],
)
def test_secret_as_tools_quote_it(secret: str, said: str) -> None:
    shown = redact(said, [secret])
    assert REDACTED in shown
    assert "hunter2" not in shown
    assert "hünte" not in shown


def test_longest_secret_goes_first() -> None:
    assert redact("secret-and-more", ["secret", "secret-and-more"]) == REDACTED


def test_short_values_are_left() -> None:
    assert redact("port 443 is true", ["443", "true", ""]) == "port 443 is true"


@given(SECRETS, st.data())
def test_no_secret_is_left(secrets: list[str], data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.sampled_from(secrets) | st.text(ALPHABET, max_size=8)))
    left = redact(" ".join(pieces), secrets)
    assert not [secret for secret in secrets if secret in left]


@given(st.text(), SECRETS)
def test_text_without_a_secret_is_unchanged(text: str, secrets: list[str]) -> None:
    absent = [s for s in secrets if s not in text and f"{s[:7]}..." not in text]
    assert redact(text, absent) == text


UNKNOWN = "error decoding document /v1alpha1/ (line 1): unknown keys found during decoding:"


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        (
            "machine:\n    a:\n        b: hunter2\n        c: []\n    d: {}\n",
            "machine.a.b, machine.a.c, machine.d",
        ),
        ("a:\n    - b: hunter2\n      c: x\n    - b: hunter2\n", "a.b, a.c"),
        ("a: |\n    hunter2: x\n    - y\n", "a"),
        ("a: hunter2\n* another error: [", ""),
        ("hunter2", ""),
        ("", ""),
    ],
)
def test_unknown_keys_keep_their_names_only(values: str, keys: str) -> None:
    assert without_unknown_values(f"{UNKNOWN}\n{values}") == f"{UNKNOWN} {keys}".rstrip()


def test_other_message_of_the_decoder_is_unchanged() -> None:
    assert without_unknown_values("a: b\nc") == "a: b\nc"


def test_message_about_a_secret_text_keeps_its_kind_only() -> None:
    message = "\nline 3: cannot unmarshal !!str `hunter2` into bool\n  more about hunter2\n"
    assert without_quotes(message) == f"line 3: cannot unmarshal !!str {REDACTED} into bool"
    assert without_quotes('parse "it\\"s": no "x"') == f"parse {REDACTED}: no {REDACTED}"
    assert without_quotes("\n") == ""
