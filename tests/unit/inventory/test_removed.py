from __future__ import annotations

import pytest

from talosmake.base import marker
from talosmake.base.errors import ConfigError, NodeError
from talosmake.inventory import environments, machine_record
from talosmake.inventory.model import Environment
from talosmake.inventory.node_names import Name
from talosmake.inventory.removed import removed_nodes
from talosmake.workflow import leftovers
from tests.project import Project

UUID = "4c4c4544-0042-3510-8052-b4c04f4d3332"


def test_removed_node_is_what_its_marker_says(small: Project) -> None:
    dev = environments.load("dev")
    worker = dev.workers[0]
    marker.write(
        dev.paths.machine_of(worker), address="10.9.0.21", hostname="one", mac="52:54:00:1:2:3"
    )
    assert removed_nodes(dev) == []
    small.remove("patches/envs/dev/workers/worker_1")
    [removed] = removed_nodes(environments.load("dev"))
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
    dev = environments.load("dev")
    marker.write(dev.paths.machine_of(dev.workers[0]), **said)
    small.remove("patches/envs/dev/workers/worker_1")
    assert [node.name for node in removed_nodes(environments.load("dev"))] == ["worker_1"]
    small.node("dev", "workers", "renamed", "10.9.0.21", facts)
    assert removed_nodes(environments.load("dev")) == []


def test_marker_that_is_none_is_named(small: Project) -> None:
    small.write("rendered_configs/dev/state/worker-gone.machine", "[]")
    with pytest.raises(ConfigError, match=r"worker-gone.machine: is no marker"):
        removed_nodes(environments.load("dev"))


def _removed(project: Project) -> Environment:
    """worker_1 was sent a config and left Git; of worker_2, nothing but a rendered config."""
    dev = environments.load("dev")
    machine_record.write(dev, dev.workers[0], Name("worker-1", "worker-1"))
    for name in ("worker_1", "worker_2"):
        project.write(f"rendered_configs/dev/worker-{name}.yaml", "x")
    project.remove("patches/envs/dev/workers/worker_1")
    return environments.load("dev")


def test_prune_forgets_no_machine_that_was_sent_a_config(small: Project) -> None:
    dev = _removed(small)
    with pytest.raises(NodeError, match=r"not forgotten, .* secrets: worker-worker_1") as kept:
        leftovers.prune(dev)
    assert "snakemake reset --config env=dev node=worker_1 confirm=worker_1" in kept.value.hint
    assert [node.name for node in removed_nodes(dev)] == ["worker_1"]
    assert [path.stem for path in leftovers.leftovers(dev)] == ["worker-worker_1"] * 2

    with pytest.raises(ConfigError, match="dev has no node 'worker_3'; did you mean worker_1"):
        leftovers.prune(dev, "worker_3")
    assert "snakemake prune --config env=dev confirm=worker_1" in kept.value.hint
    leftovers.prune(dev, "worker_1")
    assert leftovers.leftovers(dev) == []


def test_prune_is_advised_only_for_what_is_no_machine(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(leftovers, "warn", said.append)
    dev = _removed(small)
    leftovers.warn_of_leftovers(dev)
    small.remove("rendered_configs/dev/worker-worker_2.yaml")
    leftovers.warn_of_leftovers(dev)
    assert all("node=worker_1 confirm=worker_1" in text for text in said)
    assert ["snakemake prune" in text for text in said] == [True, False]
