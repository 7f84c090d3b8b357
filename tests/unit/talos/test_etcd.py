from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.errors import NodeError
from talosmake.inventory import environments, machine_record
from talosmake.inventory.node_names import Name
from talosmake.inventory.removed import removed_nodes
from talosmake.talos import api, etcd
from talosmake.talos.api import Member
from talosmake.talos.etcd import Etcd
from talosmake.talos.talosctl import EtcdStatus
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
    config = "kind: HostnameConfig\nhostname: first.k8s.example.com\n"
    small.write("rendered_configs/dev/controlplane-cp_1.yaml", config)
    dev = environments.load("dev")
    assert etcd.plane(dev, dev.first_control_plane).names == {"first"}


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
    dev = environments.load("dev")
    owners = {f"{n:x}": node for n, node in enumerate(dev.control_planes[:count], 1)}
    seen = Etcd(members(count), {f"{n:x}": "refused" for n in down}, owners=owners)
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


class Cluster:
    """What answers where: each address has an etcd that says which member it is.

    An address with nothing refuses the connection.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, members: list[Member]) -> None:
        self.members = members
        self.at: dict[str, str] = {}
        self.asked: list[str] = []
        monkeypatch.setattr(
            etcd, "connection_error", lambda at: "" if at in self.at else f"{at}: refused"
        )
        monkeypatch.setattr(api.NodeApi, "etcd_state", lambda _: "Running")
        monkeypatch.setattr(api.NodeApi, "etcd_members", lambda _: list(self.members))
        monkeypatch.setattr(api.NodeApi, "etcd_status", lambda node: self._status(node))

    def _status(self, node: api.NodeApi) -> EtcdStatus:
        self.asked.append(node.address)
        return EtcdStatus(self.at[node.address])


def _config(project: Project, name: str, text: str) -> None:
    project.write(f"rendered_configs/dev/{name}.yaml", text)


def _hostname(name: str) -> str:
    return f'kind: HostnameConfig\nhostname: {name}\nauto: "off"\n'


@pytest.fixture
def three(small: Project) -> Project:
    """Three control planes, cp_1 to cp_3, whose configs count their names from 0."""
    for n in (1, 2, 3):
        small.node("dev", "control_planes", f"cp_{n}", f"10.9.0.1{n}")
        _config(small, f"controlplane-cp_{n}", _hostname(f"cp-{n - 1}"))
    return small


ZERO = [Member(f"{n:x}a", f"cp-{n - 1}", f"10.9.0.1{n}") for n in (1, 2, 3)]


@pytest.mark.parametrize("dead", [1, 2, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_names_from_patches_hide_no_dead_member(
    three: Project, monkeypatch: pytest.MonkeyPatch, dead: int, reverse: bool
) -> None:
    """The member cp-1 is cp_2; the order in which members are listed does not matter."""
    cluster = Cluster(monkeypatch, ZERO[::-1] if reverse else ZERO)
    cluster.at = {f"10.9.0.1{n}": f"{n:x}a" for n in (1, 2, 3) if n != dead}
    seen = etcd.observe(environments.load("dev"))
    assert seen.unhealthy() == f"cp-{dead - 1}: 10.9.0.1{dead}: refused"
    assert len(seen.healthy(seen.voters)) == 2
    for node in environments.load("dev").control_planes:
        member = seen.member(node)
        assert member is not None
        assert member.address == node.address


@pytest.mark.parametrize("dead", [1, 2, 3])
def test_members_on_another_network_are_known_by_their_own_word_or_name(
    three: Project, monkeypatch: pytest.MonkeyPatch, dead: int
) -> None:
    """cluster.etcd.advertisedSubnets: no address of a member is in Git."""
    cluster = Cluster(
        monkeypatch, [Member(f"{n:x}a", f"CP-{n - 1}.lan", f"192.168.7.{n}") for n in (1, 2, 3)]
    )
    cluster.at = {f"10.9.0.1{n}": f"{n:x}a" for n in (1, 2, 3) if n != dead}
    dev = environments.load("dev")
    seen = etcd.observe(dev)
    assert seen.unhealthy() == f"CP-{dead - 1}.lan: 10.9.0.1{dead}: refused"
    dead_member = seen.member(dev.control_planes[dead - 1])
    assert dead_member is not None
    assert dead_member.identifier == f"{dead:x}a"


def test_member_of_unknown_name_and_network_is_a_stranger(
    three: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HostnameConfig with auto: stable. It is not healthy, and no node is said to be it."""
    _config(three, "controlplane-cp_3", "kind: HostnameConfig\nauto: stable\n")
    members = [*ZERO[:2], Member("3a", "talos-abc-def", "192.168.7.3")]
    cluster = Cluster(monkeypatch, members)
    cluster.at = {"10.9.0.11": "1a", "10.9.0.12": "2a"}
    dev = environments.load("dev")
    seen = etcd.observe(dev)
    assert seen.unhealthy() == "talos-abc-def: 192.168.7.3: refused"
    assert seen.member(dev.control_planes[2]) is None
    assert [member.identifier for member in seen.strangers] == ["3a"]


def test_another_member_at_its_address_does_not_speak_for_it(
    three: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that is gone, at an address that another one has by now."""
    gone = Member("9a", "old", "10.9.0.12")
    cluster = Cluster(monkeypatch, [*ZERO, gone])
    cluster.at = {f"10.9.0.1{n}": f"{n:x}a" for n in (1, 2, 3)}
    seen = etcd.observe(environments.load("dev"))
    assert seen.unhealthy() == "old: what answers at 10.9.0.12 is another member, 2a"
    assert seen.strangers == (gone,)


def test_removed_node_is_known_by_what_it_was_sent(
    three: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = environments.load("dev")
    machine_record.write(dev, dev.control_planes[2], Name("other", "other"))
    three.remove("patches/envs/dev/control_planes/cp_3")
    three.remove("rendered_configs/dev/controlplane-cp_3.yaml")
    cluster = Cluster(monkeypatch, [*ZERO[:2], Member("3a", "other", "192.168.7.3")])
    cluster.at = {"10.9.0.11": "1a", "10.9.0.12": "2a"}
    dev = environments.load("dev")
    seen = etcd.observe(dev)
    [removed] = removed_nodes(dev)
    assert seen.member(removed) == cluster.members[2]
    assert seen.unhealthy() == "other: 10.9.0.13: refused"


def test_etcd_beside_the_cluster_is_a_doubt(
    three: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch, ZERO)
    cluster.at = {"10.9.0.11": "1a", "10.9.0.12": "2a", "10.9.0.13": "ff"}
    dev = environments.load("dev")
    seen = etcd.observe(dev)
    assert seen.unhealthy() == ("the etcd of cp_3 is the member ff, which others do not list")
    with pytest.raises(NodeError, match="not clear which member of etcd cp_1 is") as refused:
        seen.member(dev.first_control_plane)
    assert "talosctl etcd status" in refused.value.hint


def test_what_is_asked(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are asked at Git's address, or at their own where they are not in Git."""
    dev = environments.load("dev")
    known = (Member("1", "cp-1", "192.168.0.1"), Member("2", "cp-2", "10.9.0.12"))
    cluster = Cluster(monkeypatch, list(known))
    cluster.at = {"10.9.0.11": "1", "10.9.0.12": "2"}
    seen = etcd.observe(dev)
    assert cluster.asked == ["10.9.0.11", "10.9.0.12"]
    assert seen.member(dev.first_control_plane) == known[0]
    assert seen.unhealthy() == ""

    del cluster.at["10.9.0.12"]
    assert etcd.observe(dev).unhealthy() == "cp-2: 10.9.0.12: refused"

    monkeypatch.setattr(api.NodeApi, "etcd_state", lambda _: "Preparing")
    assert "cp_1: its etcd is Preparing" in etcd.observe(dev).silence

    monkeypatch.setattr(etcd, "connection_error", lambda _: "connection refused")
    silent = etcd.observe(dev)
    assert silent.unhealthy() == "no control plane lists etcd's members: cp_1: connection refused"
    assert silent.member(dev.first_control_plane) is None
