from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.report.provenance import Keys, leaves, plain, traced

SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)
STAGES = st.lists(VALUES, min_size=1, max_size=5)


def origins(*stages: Any) -> dict[Keys, list[int]]:
    """Of every value of the last stage the layers that set it, the first one first."""
    return {
        keys: [setting.layer for setting in leaf.history] for keys, leaf in leaves(traced(stages))
    }


@given(STAGES)
def test_the_last_stage_is_what_is_traced(stages: list[Any]) -> None:
    assert plain(traced(stages)) == stages[-1]


@given(STAGES)
def test_every_value_comes_from_layers_in_their_order(stages: list[Any]) -> None:
    for layers in origins(*stages).values():
        assert layers == sorted(set(layers))
        assert set(layers) <= set(range(len(stages)))


@given(STAGES)
def test_a_layer_that_changes_nothing_sets_nothing(stages: list[Any]) -> None:
    last = len(stages)
    assert all(last not in layers for layers in origins(*stages, stages[-1]).values())


@given(STAGES, VALUES)
def test_what_a_layer_changes_is_its_own(stages: list[Any], value: Any) -> None:
    """Whatever is not in the config before, at that place and of that kind, is the last layer's."""
    before = [leaf.value for _, leaf in leaves(traced(stages))]
    for keys, leaf in leaves(traced([*stages, value])):
        if not any(leaf.value == one and type(leaf.value) is type(one) for one in before):
            assert leaf.history[-1].layer == len(stages), keys


def test_overridden_values_are_kept_in_order() -> None:
    [(_, leaf)] = leaves(traced([{"a": 1}, {"a": 2}, {"a": 2}, {"a": 3}]))
    assert [(setting.layer, setting.value) for setting in leaf.history] == [(0, 1), (1, 2), (3, 3)]


def test_a_value_of_another_type_is_another_value() -> None:
    assert origins({"a": 1}, {"a": True}) == {("a",): [0, 1]}


def test_items_that_are_appended_are_the_layers_own() -> None:
    assert origins({"l": ["x"]}, {"l": ["x", "y"]}) == {("l", 0): [0], ("l", 1): [1]}


def test_items_keep_their_origin_when_one_before_them_goes() -> None:
    assert origins({"l": ["x", "y"]}, {"l": ["y", "z"]}) == {("l", 0): [0], ("l", 1): [1]}


def test_items_that_are_merged_by_a_key_keep_what_they_had() -> None:
    before = {"interfaces": [{"interface": "eth0", "dhcp": False}]}
    after = {"interfaces": [{"interface": "eth0", "dhcp": True, "mtu": 9000}]}
    assert origins(before, after) == {
        ("interfaces", 0, "interface"): [0],
        ("interfaces", 0, "dhcp"): [0, 1],
        ("interfaces", 0, "mtu"): [1],
    }


def test_a_replaced_list_is_the_layers_own() -> None:
    assert origins({"l": ["x"]}, {"l": ["y"]}) == {("l", 0): [1]}


def test_a_value_in_the_place_of_a_mapping_overrides_nothing() -> None:
    assert origins({"a": {"b": 1}}, {"a": "c"}) == {("a",): [1]}


def test_nothing_cannot_be_traced() -> None:
    with pytest.raises(ValueError, match="no stage"):
        traced([])
