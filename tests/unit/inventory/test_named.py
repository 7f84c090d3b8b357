"""Which machine node= and confirm= mean."""

from __future__ import annotations

import pytest

from talosmake.base import marker
from talosmake.base.errors import ConfigError
from talosmake.inventory import environments, named
from talosmake.inventory.removed import removed_nodes
from talosmake.report import explain
from talosmake.rollout import reset
from tests.project import Project


def removed(small: Project, *config_names: str) -> None:
    environment = environments.load("dev")
    for number, name in enumerate(config_names):
        path = environment.paths.state / f"{name}.machine"
        path.parent.mkdir(parents=True, exist_ok=True)
        marker.write(path, step="apply", address=f"10.9.0.9{number}")


def test_a_node_by_its_name_or_with_its_role(small: Project) -> None:
    environment = environments.load("dev")
    for name in ("cp_1", "controlplane-cp_1"):
        assert named.one(environment, environment.nodes, name) == environment.first_control_plane
        assert explain.chosen(environment, name) == [environment.first_control_plane]
    assert explain.chosen(environment, None) == [*environment.nodes]


def test_a_name_that_nobody_has(small: Project) -> None:
    environment = environments.load("dev")
    with pytest.raises(ConfigError) as error:
        named.one(environment, environment.nodes, "cp_2")
    assert error.value.message == "dev has no node 'cp_2'; did you mean cp_1?"
    assert error.value.hint == "There are: cp_1, worker_1"


def test_the_node_of_a_file(small: Project) -> None:
    environment = environments.load("dev")
    assert named.of_role(environment, "worker", "worker_1") == environment.workers[0]
    for role, name in (("worker", "cp_1"), ("controlplane", "controlplane-cp_1")):
        with pytest.raises(ConfigError) as error:
            named.of_role(environment, role, name)
        assert error.value.message.startswith(f"dev has no node '{role}-{name}'")
        assert error.value.hint == "There are: controlplane-cp_1, worker-worker_1"


def test_a_removed_node_of_the_same_name_is_not_guessed(small: Project) -> None:
    removed(small, "worker-cp_1")
    environment = environments.load("dev")
    with pytest.raises(ConfigError) as error:
        reset._targets(environment, "cp_1")
    assert error.value.message == (
        "node=cp_1 may mean more than one: controlplane-cp_1, worker-cp_1; nothing was done"
    )
    [node] = reset._targets(environment, "worker-cp_1")
    assert node.address == "10.9.0.90"
    nodes = [*environment.nodes, *removed_nodes(environment)]
    assert [named.short(one, nodes) for one in nodes] == [
        "controlplane-cp_1",
        "worker_1",
        "worker-cp_1",
    ]


def test_two_removed_nodes_of_one_name(small: Project) -> None:
    removed(small, "worker-x", "controlplane-x")
    environment = environments.load("dev")
    with pytest.raises(ConfigError, match="node=x may mean more than one"):
        reset._targets(environment, "x")
    assert reset._targets(environment, "controlplane-x")[0].role == "controlplane"
