"""The environments that this repository ships are what its documents say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.inventory import environments, names
from talosmake.inventory.model import Environment
from tests.project import REPOSITORY, Project

SHIPPED = ("demo", "demo-real", "dev", "lab", "prod", "staging")

_POOL = ["cilium", "cilium-l2_announcements", "cilium-pool"]
# The inline manifests of control planes; simulated nodes announce no addresses.
CILIUM = {
    "demo": _POOL[:2],
    "demo-real": [],
    "dev": _POOL,
    "lab": [],
    "prod": _POOL,
    "staging": _POOL,
}


@pytest.fixture
def _repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.usefixtures("_repository")
def test_shipped_environments() -> None:
    assert tuple(names.environment_names()) == SHIPPED


@pytest.mark.usefixtures("_repository")
@pytest.mark.parametrize(
    ("name", "cluster", "endpoint", "control_planes", "workers"),
    [
        ("dev", "talos-dev", "https://10.0.1.10:6443", 1, 2),
        ("staging", "talos-staging", "https://10.0.2.10:6443", 3, 2),
        ("prod", "talos-prod", "https://10.1.1.10:6443", 3, 3),
        ("demo", "talos-demo", "https://127.0.10.11:6443", 3, 2),
        ("demo-real", "talos-demo-real", "https://10.6.0.11:6443", 1, 1),
        ("lab", "talos-lab", "https://10.5.0.11:6443", 3, 1),
    ],
)
def test_cluster_and_nodes(
    name: str, cluster: str, endpoint: str, control_planes: int, workers: int
) -> None:
    environment = environments.load(name)
    assert (environment.cluster.name, environment.cluster.endpoint) == (cluster, endpoint)
    counts = (len(environment.control_planes), len(environment.workers))
    assert counts == (control_planes, workers)
    assert environment.cluster.simulated is (name == "demo")
    assert environment.cluster.lab is (name in ("demo-real", "lab"))


@pytest.mark.usefixtures("_repository")
def test_dev_cp_1_is_where_the_documents_say() -> None:
    assert environments.load("dev").node("controlplane", "cp_1").address == "10.0.1.11"


@pytest.mark.usefixtures("_repository")
def test_no_two_machines_share_an_address_or_a_mac() -> None:
    nodes = [node for name in SHIPPED for node in environments.load(name).nodes]
    assert len({node.address for node in nodes}) == len(nodes) == len({node.mac for node in nodes})


def configs(root: Path, environment: Environment) -> Iterator[tuple[str, Any, list[Any]]]:
    for node in environment.nodes:
        path = root / environment.paths.config(node)
        first, *others = yaml.safe_load_all(path.read_text())
        yield node.hostname, first, others


def test_each_renders_and_passes_talosctl_validate(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.remove("patches")
    for part in ("patches", "config"):
        shutil.copytree(REPOSITORY / part, project.root / part)
    project.ok("secrets", "--config", "env=all")
    project.ok("-j4", "--config", "env=all", "goal=validated")
    assert "Nothing to be done" in project.ok("-j4", "--config", "env=all", "goal=validated").output
    monkeypatch.chdir(project.root)
    for name in SHIPPED:
        environment = environments.load(name)
        assert all(environment.paths.validated(node).exists() for node in environment.nodes)
        assert json.loads(environment.paths.linted.read_text())["findings"] == 0
        assert environment.paths.talosconfig.exists()
        assert environment.paths.apply_script.exists()
        seen = list(configs(project.root, environment))
        assert len(seen) == len(environment.nodes)
        for hostname, config, others in seen:
            assert config["cluster"]["network"]["cni"] == {"name": "none"}
            if config["machine"]["type"] == "controlplane" or environment.cilium:
                assert config["cluster"]["proxy"]["disabled"] is True
            inlined = [entry["name"] for entry in config["cluster"].get("inlineManifests", ())]
            assert inlined == (CILIUM[name] if config["machine"]["type"] == "controlplane" else [])
            assert config["cluster"]["controlPlane"]["endpoint"] == environment.cluster.endpoint
            assert config["cluster"]["clusterName"] == environment.cluster.name
            [document] = [other for other in others if other["kind"] == "HostnameConfig"]
            assert document["hostname"] == hostname
