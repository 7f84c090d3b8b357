from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from talosmake.base.errors import InventoryError
from talosmake.inventory import (
    canonical,
    envfile,
    environments,
    fact_values,
    known_facts,
    machine_facts,
)
from talosmake.inventory.factory import Images
from talosmake.inventory.image_facts import Choice
from talosmake.inventory.model import Node
from tests.project import REPOSITORY, Project

# Names as the code writes them where it reads facts.
_READ = re.compile(
    r"(?:facts\.get\(|facts\[|own\.get\(|\.(?:text|yes|number|whole|whole_numbers)\()"
    r"\"([A-Z][A-Z0-9_]+)\""
)


def _documented() -> set[str]:
    text = "".join(path.read_text() for path in (REPOSITORY / "docs").glob("*.md"))
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)(?:=[^`]*)?`", text))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(known_facts.schema())


def test_all_that_the_code_reads_is_known() -> None:
    read = {
        name
        for path in (REPOSITORY / "scripts").rglob("*.py")
        for name in _READ.findall(path.read_text())
    }
    assert len(read) > 40
    assert read <= known_facts.names(), read - known_facts.names()


def test_all_that_is_known_is_documented() -> None:
    missing = known_facts.names() - _documented()
    assert not missing, missing


class _Recorded(dict[str, str]):
    """Facts that remember which of them were read."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        super().__init__(facts)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def _of(node: Node, facts: Mapping[str, str]) -> tuple[object, ...]:
    """What a node is, and its virtual machine, by all that reads the node's facts."""
    told = (name for name, value in vars(Node).items() if isinstance(value, property))
    itself = (node.hostname, *(getattr(node, name) for name in told), node.chosen)
    if not facts.get("LIBVIRT_URI"):
        return itself
    vms = machine_facts.read(
        "dev", "talos-test", "https://10.9.0.10:6443", facts, Path("x"), [node], CHOSEN
    )
    return (*itself, vms.machines)


@pytest.fixture
def machines(small: Project) -> Project:
    small.environment("dev", "LIBVIRT_URI=qemu:///system\nNETWORK=10.9.0.0/24\n")
    return small


def test_all_that_is_read_for_each_node_may_stand_in_node_env(machines: Project) -> None:
    environment = environments.load("dev")
    node = environment.node("worker", "worker_1")
    recorded = _Recorded(node.facts)
    _of(replace(node, facts=recorded), environment.facts)
    assert len(recorded.read) > 10
    assert recorded.read <= known_facts.of_a_node(), recorded.read - known_facts.of_a_node()


# For each fact that may stand in node.env another value than the one that holds without it.
OF_A_NODE = {
    "NODE_IP": "10.9.0.99",
    "NODE_MAC": "52:54:00:00:00:21",
    "NODE_UUID": "4c4c4544-0042-3510-8052-b4c04f4d3332",
    "MAC_CHECK": "off",
    "NODE_ENDPOINT": "203.0.113.7",
    "NODE_MAINTENANCE_IP": "10.9.0.99",
    "NODE_CERT_FINGERPRINT": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
    "NODE_HOSTNAME": "other",
    "VM_CPUS": "3",
    "VM_MEMORY_MIB": "4096",
    "VM_DISK_GIB": "30",
    "VM_DISKS": "10",
    "VM_ACCELERATOR": "tcg",
    "VM_FIRMWARE": "bios",
    "VM_TPM": "true",
    "VM_AUTOSTART": "false",
    "TALOS_SCHEMATIC": "other.yaml",
    "TALOS_SCHEMATIC_ID": "0a" * 32,
    "TALOS_PLATFORM": "nocloud",
    "TALOS_ARCH": "arm64",
    "TALOS_SECURE_BOOT": "true",
}
CHOSEN = Choice(Images("0b" * 32, "v1.13.0"))


@pytest.mark.parametrize("name", sorted(known_facts.of_a_node()))
def test_what_may_stand_in_node_env_counts_for_that_node_alone(
    machines: Project, name: str
) -> None:
    if name in ("TALOS_PLATFORM", "TALOS_ARCH", "TALOS_SECURE_BOOT"):
        machines.environment("dev")  # virtual machines all start from one image
    if name == "TALOS_SCHEMATIC":
        machines.write("patches/envs/dev/other.yaml", "customization: {bootloader: sd-boot}\n")
        machines.node("dev", "workers", "worker_2", "10.9.0.22", f"{name}=other.yaml\n")
    before = environments.load("dev")
    path = "patches/envs/dev/workers/worker_1/node.env"
    own = "" if name == "NODE_IP" else machines.read(path)
    machines.write(path, f"{own}{name}={OF_A_NODE[name]}\n")
    after = environments.load("dev")
    changed = {
        old.name
        for old, new in zip(before.nodes, after.nodes, strict=True)
        if _of(old, before.facts) != _of(new, after.facts)
    }
    assert changed == {"worker_1"}


@pytest.mark.parametrize("name", sorted(known_facts.of_an_environment()))
def test_what_is_about_the_environment_is_refused_in_node_env(small: Project, name: str) -> None:
    small.node("dev", "workers", "worker_1", "10.9.0.21", f"MY_OWN=1\n{name}=true\n")
    with pytest.raises(InventoryError) as error:
        environments.load("dev")
    assert error.value.message == (
        f"patches/envs/dev/workers/worker_1/node.env:3: {name} is about the whole environment and "
        "cannot be given for one node"
    )
    assert "the environment's cluster.env" in error.value.hint
    assert f"e.g. MY_{name}" in error.value.hint


@pytest.mark.parametrize("name", sorted(known_facts.of_a_node()))
def test_what_tells_nodes_apart_is_refused_for_all_of_them(small: Project, name: str) -> None:
    given = small.read("patches/envs/dev/cluster.env")
    small.write("patches/envs/dev/cluster.env", f"{given}{name}=4\n")
    if name.startswith("VM_"):
        assert all(node.facts[name] == "4" for node in environments.load("dev").nodes)
        return
    if name.startswith("TALOS_"):
        with pytest.raises(InventoryError, match=rf"cluster.env:\d+: {name}='4'"):
            environments.load("dev")
        return
    with pytest.raises(InventoryError, match=rf"cluster.env:\d+: {name} is about one node"):
        environments.load("dev")


def test_shipped_environments_fit() -> None:
    files = sorted(REPOSITORY.glob("patches/envs/**/*.env"))
    assert len(files) > 10
    for path in files:
        for name, text in canonical.facts(envfile.read(path)).items():
            if fact := known_facts.facts().get(name):
                assert fact_values.problem(fact, fact_values.parsed(fact, text)) is None, path


def test_defaults_of_the_workflow_are_known() -> None:
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    known = known_facts.facts()
    assert config["defaults"] == {name: known[name].default for name in config["defaults"]}
