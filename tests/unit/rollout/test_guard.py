"""What tells a running node of this cluster from others."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from talosmake.base import this_run
from talosmake.base.errors import NodeError
from talosmake.checks import lint
from talosmake.inventory import environments, places
from talosmake.inventory.model import Environment
from talosmake.rollout import guard
from talosmake.rollout.guard import ClusterIdentity
from tests.project import Project


def _running(identifier: str, name: str, role: str = "controlplane") -> bytes:
    return (
        f"machine:\n  type: {role}\ncluster:\n  id: {identifier}\n  clusterName: {name}\n"
    ).encode()


_ANOTHER = b"---\nkind: DiscoveryIdentityConfig\nclusterID: two=\n"


@pytest.fixture
def alone(small: Project) -> Environment:
    return environments.load("dev")


@pytest.fixture
def shared(alone: Environment) -> Environment:
    return replace(alone, shares_bundle_with=("prod",))


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        (_running("''", "a"), ClusterIdentity("", "a")),
        (b"machine: {type: controlplane}\n", ClusterIdentity("", "")),
        (b"machine: {type: controlplane}\ncluster: {id: null}\n", ClusterIdentity("", "")),
        (_running("one=", "a"), ClusterIdentity("two=", "a")),
        (b"", ClusterIdentity("", "")),
        (b"kind: HostnameConfig\n", ClusterIdentity("", "")),
        # Of two that are said, none is known to hold.
        (_running("one=", "a") + _ANOTHER, ClusterIdentity("one=", "a")),
        (_running("one=", "a") + _ANOTHER, ClusterIdentity("two=", "a")),
    ],
)
def test_unknown_cluster_is_never_the_same(
    alone: Environment, has: bytes, wanted: ClusterIdentity
) -> None:
    with pytest.raises(NodeError, match=r"runs with another cluster\.id: it has (none|one=…), "):
        guard.check_cluster(alone, alone.first_control_plane, has, wanted)


@pytest.mark.parametrize("name", ["other", "''"])
def test_clusters_with_one_bundle_are_told_apart_by_name(
    alone: Environment, shared: Environment, name: str
) -> None:
    running, wanted = _running("one=", name), ClusterIdentity("one=", "talos-test")
    with pytest.raises(NodeError, match=r"another cluster\.clusterName: it has (other|none), this"):
        guard.check_cluster(shared, shared.first_control_plane, running, wanted)
    guard.check_cluster(shared, shared.first_control_plane, _running("one=", "talos-test"), wanted)
    # With a bundle of its own a cluster may get another name.
    guard.check_cluster(alone, alone.first_control_plane, running, wanted)


def test_names_that_nobody_knows_are_not_the_same(shared: Environment) -> None:
    nameless = b"machine: {type: controlplane}\ncluster: {id: one=}\n"
    with pytest.raises(NodeError, match=r"clusterName: it has none, this cluster's is not known"):
        guard.check_cluster(
            shared, shared.first_control_plane, nameless, ClusterIdentity("one=", "")
        )


def test_role_that_is_not_known_is_another(alone: Environment) -> None:
    running = b"machine: {}\ncluster: {id: one=}\n"
    with pytest.raises(NodeError, match=r"machine\.type: it has none, the config says"):
        guard.check_cluster(alone, alone.first_control_plane, running, ClusterIdentity("one=", ""))


def test_copy_of_a_bundle_is_shared_like_the_bundle(dev: Project, small: Project) -> None:
    """Both fixtures are one project: dev has its secrets, small has this process work in it."""
    assert not lint.shares_bundle(environments.load("dev"))
    small.environment("prod")
    small.node("prod", "control_planes", "cp_1", "10.9.1.11")
    shutil.copy(places.own_bundle("dev"), places.own_bundle("prod"))
    assert lint.shares_bundle(environments.load("dev"))
    assert lint.shares_bundle(environments.load("prod"))


def test_machines_that_are_not_known_are_told_once_a_run(
    alone: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(guard, "warn", warnings.append)
    for node in alone.nodes * 2:
        guard._tell_what_is_not_checked(alone, node)
    assert len(warnings) == 1
    assert "without NODE_MAC" in warnings[0]
    this_run.begin()
    guard._tell_what_is_not_checked(alone, alone.nodes[0])
    assert len(warnings) == 2
