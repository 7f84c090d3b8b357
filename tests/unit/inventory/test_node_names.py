"""The names that machine configs give to nodes."""

from __future__ import annotations

import pytest

from talosmake.base import marker
from talosmake.base.errors import InventoryError
from talosmake.inventory import environments, node_names
from talosmake.inventory.node_names import Name, of_config
from tests.project import Project

MACHINE = "version: v1alpha1\nmachine:\n    type: controlplane\n"
KIND = "---\napiVersion: v1alpha1\nkind: HostnameConfig\n"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (f"{MACHINE}{KIND}hostname: cp-0\nauto: off\n", Name("cp-0", "cp-0")),
        (f"{MACHINE}{KIND}hostname: cp-0.example.com\n", Name("cp-0", "cp-0")),
        (f"{MACHINE}{KIND}hostname: CP_0\n", Name("cp_0", "cp-0")),
        (f"{MACHINE}{KIND}auto: stable\n", Name()),
        (f"{MACHINE}{KIND}auto: addr\nhostname: ''\n", Name()),
        (f"{MACHINE}{KIND}hostname: .example.com\n", Name()),
        (f"{MACHINE}{KIND}hostname: {'x' * 64}\n", Name()),
        (f"{MACHINE}    network:\n        hostname: cp-0\n", Name("cp-0", "cp-0")),
        ('{machine: {network: {"hostname": cp-0}}}\n', Name("cp-0", "cp-0")),
        (
            f"{MACHINE}    kubelet:\n        registerWithFQDN: true\n{KIND}hostname: a.b.c\n",
            Name("a", "a.b.c"),
        ),
        # In a manifest it is nobody's name.
        (
            f"{MACHINE}cluster:\n    inlineManifests:\n      - contents: |\n"
            "          ---\n          kind: HostnameConfig\n          hostname: x\n",
            Name(),
        ),
        (MACHINE, Name()),
        ("", Name()),
        ("hostname: [", Name()),
    ],
)
def test_name_in_a_config(config: str, name: Name) -> None:
    assert of_config(config.encode()) == name


@pytest.fixture
def four(small: Project) -> Project:
    """Control planes cp_1 and cp_2, and workers worker_1 and worker_2, none rendered."""
    small.node("dev", "control_planes", "cp_2", "10.9.0.12")
    small.node("dev", "workers", "worker_2", "10.9.0.22")
    return small


def _render(project: Project, **names: str) -> None:
    for name, hostname in names.items():
        role = "controlplane" if name.startswith("cp") else "worker"
        text = f"{MACHINE}{KIND}hostname: {hostname}\n"
        project.write(f"rendered_configs/dev/{role}-{name}.yaml", text)


@pytest.mark.parametrize(
    ("names", "same"),
    [
        ({"cp_1": "same", "cp_2": "same"}, "cp_1 and cp_2"),
        ({"cp_1": "same.one.lan", "cp_2": "SAME.two.lan"}, "cp_1 and cp_2"),
        ({"cp_1": "a", "cp_2": "b", "worker_1": "a"}, "cp_1 and worker_1"),
        ({"cp_1": "a-b", "worker_2": "a_b"}, "cp_1 and worker_2"),
        ({"cp_1": "a", "worker_1": "w", "worker_2": "w"}, "worker_1 and worker_2"),
        ({"cp_1": "same", "cp_2": "same", "worker_1": "same"}, "cp_1 and cp_2"),
    ],
)
def test_two_nodes_with_one_name_are_refused(
    four: Project, names: dict[str, str], same: str
) -> None:
    _render(four, **names)
    dev = environments.load("dev")
    with pytest.raises(InventoryError, match=f"dev: {same} have the same host name") as refused:
        node_names.check_rendered(dev, dev.nodes)
    assert "Nothing was sent" in refused.value.hint


@pytest.mark.parametrize(
    "names",
    [
        {"cp_1": "a", "cp_2": "b", "worker_1": "c", "worker_2": "d"},
        {"cp_1": "same"},
        # Without a name there is none that two could have.
        {"cp_1": "''", "cp_2": "''"},
    ],
)
def test_names_of_their_own_pass(four: Project, names: dict[str, str]) -> None:
    _render(four, **names)
    dev = environments.load("dev")
    node_names.check_rendered(dev, dev.nodes)


def test_workers_that_register_with_their_domains_may_share_the_rest(four: Project) -> None:
    for number, domain in ((1, "one"), (2, "two")):
        four.write(
            f"rendered_configs/dev/worker-worker_{number}.yaml",
            f"{MACHINE}    kubelet:\n        registerWithFQDN: true\n{KIND}hostname: w.{domain}\n",
        )
    dev = environments.load("dev")
    node_names.check_rendered(dev, dev.nodes)


def test_patch_that_gives_the_name_is_told(four: Project) -> None:
    shared = "patches/envs/dev/control_planes/common.yaml"
    four.write(shared, f"{KIND}hostname: same\n")
    _render(four, cp_1="same", cp_2="same")
    dev = environments.load("dev")
    with pytest.raises(InventoryError) as refused:
        node_names.check_rendered(dev, dev.nodes)
    assert refused.value.message == (
        "dev: cp_1 and cp_2 have the same host name by their machine configs: same\n"
        f"  cp_1: set in {shared}\n  cp_2: set in {shared}"
    )
    assert "throws the etcd member with its name out of etcd" in refused.value.hint


def test_record_of_an_older_version_says_no_name(four: Project) -> None:
    """Its host name was the directory's, whatever a patch said."""
    dev = environments.load("dev")
    node = dev.first_control_plane
    assert node_names.recorded(dev, node) == Name()
    marker.write(dev.paths.machine_of(node), address="10.9.0.11", hostname="cp-1")
    assert node_names.recorded(dev, node) == Name()


def test_all_addresses_of_links_are_known(four: Project) -> None:
    four.write(
        "rendered_configs/dev/controlplane-cp_1.yaml",
        """\
machine:
  network:
    interfaces:
      - interface: eth0
        addresses: [10.5.0.11/24, 'fd00::11/64']
        vip: {ip: 10.5.0.1}
        vlans: [{vlanId: 7, addresses: [10.7.0.11/24]}]
---
kind: LinkConfig
name: eth1
addresses: [{address: 10.6.0.11/24}]
---
kind: Layer2VIPConfig
name: 10.6.0.1
""",
    )
    dev = environments.load("dev")
    assert node_names.static_addresses(dev, dev.first_control_plane) == {
        "10.5.0.11",
        "fd00::11",
        "10.7.0.11",
        "10.6.0.11",
    }
    assert node_names.static_addresses(dev, dev.workers[0]) == frozenset()
