"""Which member of etcd is which node: an assignment over all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.inventory.model import Node, Role
from talosmake.talos.api import Member
from talosmake.talos.members import Doubt, Plane, has_address, owners


def plane(
    name: str, address: str, *names: str, member: str = "", more: tuple[str, ...] = ()
) -> Plane:
    node = Node(name, Role.CONTROLPLANE, name, address, Path(name), (), {})
    return Plane(node, member, frozenset(more), frozenset(names))


def assigned(members: list[Member], planes: list[Plane]) -> dict[str, str]:
    return {one: node.name for one, node in owners(members, planes).items()}


@given(st.permutations([0, 1, 2, 3, 4]), st.permutations([0, 1, 2, 3, 4]), st.integers(0, 5))
def test_address_wins_over_any_mix_of_names(
    names: list[int], order: list[int], own_words: int
) -> None:
    """However names are mixed up, and whoever of them answers."""
    members = [Member(f"{n}a", f"cp-{names[n]}", f"10.9.0.{n}") for n in order]
    planes = [
        plane(f"cp_{n}", f"10.9.0.{n}", f"cp-{n}", member=f"{n}a" * (n < own_words))
        for n in range(5)
    ]
    assert assigned(members, planes) == {f"{n}a": f"cp_{n}" for n in range(5)}


@pytest.mark.parametrize(
    ("member", "node"),
    [
        ("fd00::11", "FD00:0:0:0::11"),
        ("::ffff:10.9.0.11", "10.9.0.11"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_are_the_same_in_any_form(member: str, node: str) -> None:
    assert assigned([Member("1a", "", member)], [plane("cp_1", node)]) == {"1a": "cp_1"}


def test_second_peer_url_and_addresses_of_the_config_count() -> None:
    members = [
        Member("1a", "x", "172.16.0.1", False, ("10.9.0.11",)),
        Member("2a", "y", "10.5.0.2"),
    ]
    planes = [plane("cp_1", "10.9.0.11"), plane("cp_2", "10.9.0.12", more=("10.5.0.2",))]
    assert assigned(members, planes) == {"1a": "cp_1", "2a": "cp_2"}
    assert has_address(planes[1], members[1])
    assert not has_address(planes[0], members[1])


def test_upper_case_and_domain_of_a_member_do_not_matter() -> None:
    members = [Member("1a", "CP-1.example.com", "172.16.0.1")]
    assert assigned(members, [plane("cp_1", "10.9.0.11", "cp-1")]) == {"1a": "cp_1"}


def test_member_without_a_name_is_no_node_without_a_name() -> None:
    """Empty never equals empty."""
    members = [Member("1a", "", ""), Member("", "", "172.16.0.2")]
    assert assigned(members, [plane("cp_1", "10.9.0.11"), plane("cp_2", "10.9.0.12", "")]) == {}


def test_member_at_the_address_of_another_node_is_not_known_by_its_name() -> None:
    """What is at cp_2's address is not the dead cp_1, though it is called so."""
    members = [Member("1a", "cp-1", "10.9.0.12"), Member("2a", "cp-2", "172.16.0.2")]
    planes = [plane("cp_1", "10.9.0.11", "cp-1"), plane("cp_2", "10.9.0.12", member="2a")]
    assert assigned(members, planes) == {"2a": "cp_2"}


@pytest.mark.parametrize(
    ("members", "planes", "said"),
    [
        (
            [Member("1a", "same", "172.16.0.1")],
            [plane("cp_1", "10.9.0.11", "same"), plane("cp_2", "10.9.0.12", "same")],
            "etcd's member same (1a at 172.16.0.1) may be cp_1 or cp_2",
        ),
        (
            [Member("1a", "same", "172.16.0.1"), Member("2a", "same", "172.16.0.2")],
            [plane("cp_1", "10.9.0.11", "same")],
            "cp_1 may be etcd's member same (1a at 172.16.0.1) or same (2a at 172.16.0.2)",
        ),
        (
            [Member("1a", "", "10.5.0.1")],
            [
                plane("cp_1", "10.9.0.11", more=("10.5.0.1",)),
                plane("cp_2", "x", more=("10.5.0.1",)),
            ],
            "etcd's member not started (1a at 10.5.0.1) may be cp_1 or cp_2",
        ),
        (
            [Member("1a", "cp-1", "10.9.0.11")],
            [plane("cp_1", "10.9.0.11", member="1a"), plane("cp_2", "10.9.0.12", member="1a")],
            "etcd's member cp-1 (1a at 10.9.0.11) may be cp_1 or cp_2",
        ),
        (
            [Member("1a", "cp-1", "10.9.0.11")],
            [plane("cp_1", "10.9.0.11", member="ff")],
            "the etcd of cp_1 is the member ff, which others do not list",
        ),
    ],
)
def test_what_may_be_two_things_is_refused(
    members: list[Member], planes: list[Plane], said: str
) -> None:
    with pytest.raises(Doubt) as doubt:
        owners(members, planes)
    assert str(doubt.value) == said
