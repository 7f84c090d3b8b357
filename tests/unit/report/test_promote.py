from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from talosmake.inventory.model import Cluster, Environment, Goal, Node, Options, Role
from talosmake.report import promote

FACTS = {
    "ENV": "dev",
    "NODE_NAME": "cp_1",
    "NODE_HOSTNAME": "cp-1",
    "NODE_IP": "10.0.1.1",
    "CLUSTER_NAME": "talos-dev",
    "CLUSTER_ENDPOINT": "https://10.0.1.10:6443",
    "VIP": "10.0.1.10",
    "NODE_MAC": "52:54:00:00:00:11",
    "TALOS_VERSION": "v1.13.0",
    "NETWORK": "10.0.1.0/24",
    "ZONE": "north",
}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("10.0.1.1", "${NODE_IP}"),
        ("10.0.1.1/24", "${NODE_IP}/24"),
        ("10.0.1.11", "<address>"),
        ("10.0.1.0/24", "${NETWORK}"),
        ("https://10.0.1.10:6443", "${CLUSTER_ENDPOINT}"),
        ("10.0.1.10:6443", "${VIP}:6443"),
        ("talos-dev", "${CLUSTER_NAME}"),
        ("api.talos-dev.example.org", "api.talos-dev.example.org"),
        ("dev", "${ENV}"),
        ("/dev/vda", "/dev/vda"),
        ("device", "device"),
        ("52:54:00:00:00:11 52:54:00:00:00:12", "${NODE_MAC} <mac>"),
        ("fd00::7/64", "<address>"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("v1.13.0", "v1.13.0"),
        ("north", "north"),
        ("12:30", "12:30"),
    ],
)
def test_names_and_addresses_are_masked(value: str, shown: str) -> None:
    config = {("", ""): {"machine": {"x": [{"y": value}]}}}
    assert promote.masked(config, FACTS) == {("", ""): {"machine": {"x": [{"y": shown}]}}}


def test_subnets_of_the_cluster_are_shown() -> None:
    config: Any = {("", ""): {"cluster": {"network": {"podSubnets": ["10.99.0.0/16"]}}}}
    assert promote.masked(config, FACTS) == config


def test_documents_that_are_called_by_an_address() -> None:
    kind = "Layer2VIPConfig"
    config: Any = {(kind, name): {"name": name} for name in ("10.0.1.10", "10.0.1.8", "10.0.1.9")}
    assert promote.masked(config, FACTS) == {
        (kind, "${VIP}"): {"name": "${VIP}"},
        (kind, "<address>"): {"name": "<address>"},
        (kind, "10.0.1.9"): {"name": "<address>"},
    }


def environment(name: str, *nodes: tuple[Role, str]) -> Environment:
    cluster = Cluster("c", "https://c:6443", "v1.13.0", "v1.13", "1.36.0")
    options = Options(Goal.RENDERED, "auto", 1, 1, 1, 1)
    made = tuple(Node(node, role, node, "10.0.0.1", Path(node), (), {}) for role, node in nodes)
    return Environment(name, Path(name), cluster, options, made, Path("b"))


def test_nodes_are_paired_by_name_then_in_order() -> None:
    plane, worker = Role.CONTROLPLANE, Role.WORKER
    dev = environment("dev", (plane, "a"), (worker, "b"), (worker, "w1"), (worker, "x"))
    prod = environment("prod", (plane, "cp"), (plane, "cp2"), (worker, "w2"), (worker, "w1"))
    named = [
        tuple(node.name if node else None for node in pair) for pair in promote.pairs(dev, prod)
    ]
    assert named == [("a", "cp"), (None, "cp2"), ("w1", "w1"), ("b", "w2"), ("x", None)]
