from __future__ import annotations

import pytest

from scripts import inventory, marker
from scripts.errors import ConfigError
from scripts.removed import removed_nodes
from tests.project import Project

UUID = "4c4c4544-0042-3510-8052-b4c04f4d3332"


def test_removed_node_is_what_its_marker_says(small: Project) -> None:
    dev = inventory.load("dev")
    worker = dev.workers[0]
    marker.write(
        dev.paths.machine_of(worker), address="10.9.0.21", hostname="one", mac="52:54:00:1:2:3"
    )
    assert removed_nodes(dev) == []
    small.remove("patches/envs/dev/workers/worker_1")
    [removed] = removed_nodes(inventory.load("dev"))
    assert (removed.name, removed.role, removed.hostname) == ("worker_1", "worker", "one")
    assert (removed.address, removed.maintenance_address) == ("10.9.0.21", "10.9.0.21")
    assert (removed.mac, removed.uuid) == ("52:54:00:1:2:3", "")


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ({"address": "10.9.0.21"}, ""),
        ({"address": "10.9.0.99", "mac": "52:54:00:00:00:01"}, "NODE_MAC=52:54:00:00:00:01\n"),
        ({"address": "10.9.0.99", "uuid": UUID}, f"NODE_UUID={UUID.upper()}\n"),
    ],
)
def test_machine_that_has_another_name_now_is_not_removed(
    small: Project, said: dict[str, str], facts: str
) -> None:
    """A reset of what it was would wipe what it is."""
    dev = inventory.load("dev")
    marker.write(dev.paths.machine_of(dev.workers[0]), **said)
    small.remove("patches/envs/dev/workers/worker_1")
    assert [node.name for node in removed_nodes(inventory.load("dev"))] == ["worker_1"]
    small.node("dev", "workers", "renamed", "10.9.0.21", facts)
    assert removed_nodes(inventory.load("dev")) == []


def test_marker_that_is_none_is_named(small: Project) -> None:
    small.write("rendered_configs/dev/state/worker-gone.machine", "[]")
    with pytest.raises(ConfigError, match=r"worker-gone.machine: is no marker"):
        removed_nodes(inventory.load("dev"))
