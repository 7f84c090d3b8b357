from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import etcd, inventory, talosctl
from scripts.etcd import Etcd
from scripts.talosctl import CallError, Failure, Member
from tests.project import Project


def members(count: int) -> tuple[Member, ...]:
    return tuple(Member(f"{n:x}", f"cp-{n}", f"10.9.0.1{n}") for n in range(1, count + 1))


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_quorum(count: int, needed: int) -> None:
    assert etcd.quorum(count) == needed


@given(st.integers(1, 9), st.data())
def test_who_may_leave(count: int, data: st.DataObject) -> None:
    """Exactly when etcd can let a member go and goes on working without it."""
    all_of_them = members(count)
    down = data.draw(st.sets(st.sampled_from(all_of_them)))
    leaving = data.draw(st.sampled_from(all_of_them))
    seen = Etcd(all_of_them, {member.identifier: "refused" for member in down})
    works_now = count - len(down) > count / 2
    works_then = count > 1 and count - 1 - len(down - {leaving}) > (count - 1) / 2
    assert (seen.refusal(leaving) == "") == (works_now and works_then)


def test_a_member_has_the_host_name_without_its_domain(small: Project) -> None:
    facts = "NODE_HOSTNAME=first.k8s.example.com\n"
    small.node("dev", "control_planes", "cp_1", "10.9.0.11", facts)
    node = inventory.load("dev").first_control_plane
    assert etcd.is_of(Member("1", "first", "10.9.0.99"), node)
    assert not etcd.is_of(Member("1", "first.k8s.example.com", "10.9.0.99"), node)


def test_arithmetic_is_shown() -> None:
    seen = Etcd(members(3), {"3": "connection refused"})
    assert seen.refusal(seen.members[0]) == (
        "etcd has 3 voting members, 2 of them healthy (cp-3: connection refused). Without cp-1 it "
        "would have 2, of which 2 must be healthy, and only 1 would be"
    )
    assert seen.refusal(seen.members[2]) == ""
    assert Etcd(members(5)).arithmetic(seen.members[0]) == (
        "etcd has 5 voting members, 5 of them healthy. Without cp-1 it has 4, of which 3 must be "
        "healthy; 4 would be: 1 more may fail"
    )
    lost = Etcd(members(2), {"2": "connection refused"}).refusal(seen.members[0])
    assert lost.endswith("(cp-2: connection refused); to let one go, 2 of 2 must be healthy")


@pytest.mark.parametrize(
    ("count", "planes", "down", "allowed"),
    [
        (3, 3, (), True),
        (2, 3, (), False),  # one has to join first
        (1, 3, (), False),
        (3, 5, (), True),  # two of three are left meanwhile
        (4, 5, (2,), False),
        (2, 2, (), True),  # as many as there are to be: a reboot cannot do better
        (1, 1, (), True),
    ],
)
def test_who_may_reboot_while_others_have_to_join(
    small: Project, count: int, planes: int, down: tuple[int, ...], allowed: bool
) -> None:
    for n in range(1, planes + 1):
        small.node("dev", "control_planes", f"cp_{n}", f"10.9.0.1{n}")
    dev = inventory.load("dev")
    seen = Etcd(members(count), {f"{n:x}": "refused" for n in down})
    why = seen.absence(dev.control_planes, dev.first_control_plane)
    assert (why == "") == allowed
    if count == 2 and not allowed:
        assert why == (
            "cp_3 is not in etcd yet, which has 2 voting members: without cp_1 it would have no "
            "quorum"
        )


def test_learner_has_no_vote() -> None:
    learner = Member("4", "cp-4", "10.9.0.14", learner=True)
    seen = Etcd((*members(3), learner), {"4": "it is still a learner"})
    assert seen.refusal(learner) == ""
    assert seen.voters == members(3)
    assert seen.unhealthy() == "cp-4: it is still a learner"


def test_what_is_asked(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are asked at Git's address, or at their own where they are not in Git."""
    dev = inventory.load("dev")
    known = (Member("1", "cp-1", "192.168.0.1"), Member("2", "cp-2", "10.9.0.12"))
    asked = []

    def trouble(node: talosctl.Node) -> str:
        asked.append(node.address)
        if node.address == "10.9.0.12":
            raise CallError(Failure.UNREACHABLE, "rpc error:\n  no route to host")
        return ""

    monkeypatch.setattr(etcd, "connection_error", lambda _: "")
    monkeypatch.setattr(talosctl.Node, "etcd_state", lambda _: "Running")
    monkeypatch.setattr(talosctl.Node, "etcd_members", lambda _: list(known))
    monkeypatch.setattr(talosctl.Node, "etcd_trouble", trouble)
    seen = etcd.observe(dev)
    assert asked == ["10.9.0.11", "10.9.0.12"]
    assert seen.member(dev.first_control_plane) == known[0]
    assert seen.unhealthy() == "cp-2: no route to host"

    monkeypatch.setattr(talosctl.Node, "etcd_state", lambda _: "Preparing")
    assert "cp_1: its etcd is Preparing" in etcd.observe(dev).silence

    monkeypatch.setattr(etcd, "connection_error", lambda _: "connection refused")
    silent = etcd.observe(dev)
    assert silent.unhealthy() == "no control plane lists etcd's members: cp_1: connection refused"
    assert silent.member(dev.first_control_plane) is None
