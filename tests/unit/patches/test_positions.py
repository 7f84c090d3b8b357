from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.checks.finding import leaves
from talosmake.patches import positions
from talosmake.patches.patch import parse
from tests.unit.render.test_fit import PATH

TEXT = """\
# A comment.
---
machine:
  install: {disk: "${DISK}", wipe: false}
  # overrides the common one:
  # little memory
  certSANs:
    - a
    - ${NODE_IP}
  sysctls:
    b:
    c: ~
    d: ""  # overriding
    e: $${NAME}
---
---
kind: LinkConfig
flow: [${A}, b]
"""


def test_each_key_has_its_line() -> None:
    found = positions.of(TEXT)
    lines = {
        (0, ("machine",)): 3,
        (0, ("machine", "install", "wipe")): 4,
        (0, ("machine", "certSANs", 1)): 9,
        (0, ("machine", "sysctls", "d")): 13,
        (1, ("kind",)): 17,
        (1, ("flow", 0)): 18,
    }
    assert {key: found[key].line for key in lines} == lines


def test_how_values_are_written() -> None:
    found = {keys[-1]: position for (_, keys), position in positions.of(TEXT).items()}
    assert [key for key, position in found.items() if position.null] == ["b", "c"]
    assert [key for key, position in found.items() if position.announced] == ["certSANs", "d"]
    assert not found["disk"].literal
    assert not positions.of(TEXT)[0, ("machine", "certSANs", 1)].literal
    assert found["wipe"].literal
    assert found["e"].literal  # $${NAME} is a literal ${NAME}


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t"])
def test_nothing_is_found_in_what_is_no_yaml(text: str) -> None:
    assert positions.of(text) == {}


_VALUES = st.recursive(
    st.text("abc ~", max_size=4) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1), inner),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text("xyz", min_size=1), _VALUES), max_size=3))
def test_all_that_a_patch_says_has_a_position(documents: list[dict[str, object]]) -> None:
    text = yaml.safe_dump_all(documents)
    found = positions.of(text)
    for number, document in enumerate(parse(text, PATH).documents):
        for keys, value in leaves(document):
            assert (number, keys) in found
            # An empty text and null look the same there.
            assert value == "" or found[number, keys].null == (value == "null")
