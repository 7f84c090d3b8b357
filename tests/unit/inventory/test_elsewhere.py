"""One machine in two environments is found, and nothing is done to it."""

from __future__ import annotations

import pytest

from talosmake.base.errors import InventoryError
from talosmake.inventory import elsewhere, environments
from tests.project import CLUSTER_ENV, Project

UUID = "4c4c4544-0042-3510-8052-b4c04f4d3332"
OTHER = CLUSTER_ENV.replace("10.9.0.10", "10.8.0.10")
PROD = "patches/envs/prod/workers/w_1/node.env"
WORKER = "patches/envs/dev/workers/worker_1/node.env"


def found(small: Project, own: str, theirs: str, cluster: str = "") -> list[str]:
    small.write(WORKER, own)
    small.environment("prod", cluster, cluster_env=OTHER)
    small.write(PROD, theirs)
    return [
        f"{clash.file}: {clash.message}" for clash in elsewhere.clashes(environments.load("dev"))
    ]


@pytest.mark.parametrize(
    ("own", "theirs", "what"),
    [
        ("NODE_IP=10.9.0.21", "NODE_IP=10.9.0.21", "the address 10.9.0.21"),
        ("NODE_IP=fd00::21", "export NODE_IP = 'FD00:0::21'  # x", "the address fd00::21"),
        (
            "NODE_IP=10.9.0.21\nNODE_ENDPOINT=vpn.example.com:50001",
            'NODE_IP=10.8.0.21\nNODE_ENDPOINT="VPN.example.com:50001"',
            "the address vpn.example.com:50001",
        ),
        (
            "NODE_IP=10.9.0.21",
            "NODE_IP=10.8.0.21\nNODE_ENDPOINT=10.9.0.21:50000",
            "the address 10.9.0.21",
        ),
        (
            "NODE_IP=10.9.0.21\nNODE_MAC=52:54:00:ab:00:21",
            "NODE_IP=10.8.0.21\nNODE_MAC=52-54-00-AB-00-21",
            "NODE_MAC 52:54:00:ab:00:21",
        ),
        (
            f"NODE_IP=10.9.0.21\nNODE_UUID={UUID}",
            f"NODE_IP=10.8.0.21\nNODE_UUID={UUID.upper()}",
            f"NODE_UUID {UUID}",
        ),
    ],
)
def test_what_two_environments_have(small: Project, own: str, theirs: str, what: str) -> None:
    assert found(small, f"{own}\n", f"{theirs}\n") == [f"{WORKER}: {what} is in {PROD}, too"]
    with pytest.raises(InventoryError) as error:
        elsewhere.check(environments.load("dev"))
    assert error.value.message == f"{WORKER}: {what} is in {PROD}, too"
    assert "One machine is one environment's" in error.value.hint
    small.environment("dev", "LINT_OFF=machine-twice\n")
    elsewhere.check(environments.load("dev"))


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ("NODE_IP=10.9.0.21", "NODE_IP=10.9.0.22\n# NODE_MAC=52:54:00:ab:00:21"),
        # Two sites may have the same addresses, where each is reached by another.
        (
            "NODE_IP=10.9.0.21\nNODE_ENDPOINT=vpn.example.com:50001",
            "NODE_IP=10.9.0.21\nNODE_ENDPOINT=vpn.example.com:50002",
        ),
        ("NODE_IP=10.9.0.21\nNODE_MAC=", "NODE_IP=10.9.0.22\nNODE_MAC="),
        ("NODE_IP=10.9.0.21", "NODE_IP=\nnot a line"),
    ],
)
def test_what_is_no_machine_in_two(small: Project, own: str, theirs: str) -> None:
    assert found(small, f"{own}\n", f"{theirs}\n") == []
    elsewhere.check(environments.load("dev"))


def test_an_address_that_a_patch_gives(small: Project) -> None:
    link = "kind: LinkConfig\nname: eno1\naddresses: [{address: 10.9.0.31/24}]\n"
    small.patch("dev", "workers", "worker_1", link)
    directory = WORKER.removesuffix("/node.env")
    said = found(small, "X=1\n", "NODE_IP=10.9.0.31\n")
    assert said == [f"{directory}/node.env: the address 10.9.0.31 is in {PROD}, too"]


def test_one_endpoint_of_two_clusters(small: Project) -> None:
    small.environment("prod")
    [clash] = elsewhere.clashes(environments.load("dev"))
    assert clash.message == (
        "CLUSTER_ENDPOINT https://10.9.0.10:6443 is in patches/envs/prod/cluster.env, too"
    )


@pytest.mark.parametrize("kind", ["SIMULATED", "LAB"])
def test_cards_of_simulated_nodes_are_nobody_else_s(small: Project, kind: str) -> None:
    own = "NODE_IP=10.9.0.21\nNODE_MAC=52:54:00:ab:00:21\n"
    assert found(small, own, own.replace("10.9.0", "127.0.9"), f"{kind}=true\n") == []
    assert len(found(small, own, own, f"{kind}=true\n")) == 1  # the address is one all the same


def test_a_broken_environment_does_not_disturb(small: Project) -> None:
    small.write("patches/envs/broken/cluster.env/x", "")
    small.write("patches/envs/broken/workers/w/node.env/x", "")
    (small.root / "patches/envs/bytes/workers/w").mkdir(parents=True)
    (small.root / "patches/envs/bytes/workers/w/node.env").write_bytes(b"\xff\xfe")
    small.write("patches/envs/file", "")
    assert elsewhere.clashes(environments.load("dev")) == []


def test_what_many_environments_have_is_told_once(small: Project) -> None:
    for name in ("prod", "qa", "staging"):
        small.environment(name, cluster_env=OTHER)
        small.node(name, "workers", "w_1", "10.9.0.21")
    small.write(WORKER, "NODE_IP=10.9.0.21\n")
    (clash,) = elsewhere.clashes(environments.load("dev"))
    assert clash.message == f"the address 10.9.0.21 is in {PROD}, too (and in 2 more)"
