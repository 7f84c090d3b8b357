"""Which changes a node has and does not act on before a reboot, or an upgrade."""

from __future__ import annotations

import pytest
import yaml

from talosmake.rollout.in_force import Pending, Until, may_reboot, pending
from tests import talos_configs


def waiting(before: str, after: str, talos: str) -> list[str]:
    old, new = (list(yaml.load_all(text, Loader=yaml.BaseLoader)) for text in (before, after))
    found = pending(old, new, talos)
    assert all(one.until is Until.REBOOT for one in found)
    return [one.label for one in found]


@pytest.mark.parametrize(
    ("talos", "may"), [("v1.12.6", True), ("v1.13.9", True), ("v1.14.0", False), ("1.15.2", False)]
)
def test_no_apply_reboots_from_1_14_on(talos: str, may: bool) -> None:
    assert may_reboot(talos) is may


ETCD = "cluster: {{etcd: {{ca: {}, extraArgs: {{a: {}}}}}}}\n"
ENV = "machine: {{env: {{A: {}}}}}\n"
VARIABLES = "kind: EnvironmentConfig\nvariables: {{A: {}}}\n"
MODULES = "machine: {{kernel: {{modules: [{}]}}}}\n"
MODULE = "kind: KernelModuleConfig\nname: {}\nparameters: [{}]\n"
DISKS = "machine: {{systemDiskEncryption: {{state: {{keys: [{{slot: {}}}]}}}}}}\n"
VOLUME = "kind: VolumeConfig\nname: STATE\nencryption: {{keys: [{{slot: {}}}]}}\n"
LOGIN = "machine: {{registries: {{config: {{a: {{auth: {{password: {}}}}}}}}}}}\n"
LOGIN_DOCUMENT = "kind: RegistryAuthConfig\nname: a\npassword: {}\n"
PROFILE = "kind: SecurityProfileConfig\nworkloadIsolation: {}\n"


@pytest.mark.parametrize(
    ("before", "after", "in_1_13", "in_1_14"),
    [
        (ETCD.format("x", 1), ETCD.format("x", 2), ["cluster.etcd"], ["cluster.etcd"]),
        (ETCD.format("x", 1), ETCD.format("y", 1), [], []),
        (ENV.format(1), ENV.format(2), [], ["machine.env"]),
        (
            VARIABLES.format(1),
            VARIABLES.format(2),
            ["EnvironmentConfig: variables"],
            ["EnvironmentConfig: variables"],
        ),
        (
            VARIABLES.format(1),
            "kind: Other\n",
            ["EnvironmentConfig: variables"],
            ["EnvironmentConfig: variables"],
        ),
        (DISKS.format(0), DISKS.format(1), [], ["machine.systemDiskEncryption"]),
        (
            VOLUME.format(0),
            VOLUME.format(1),
            ["VolumeConfig STATE"],
            ["VolumeConfig STATE"],
        ),
        # One that there was not is made as it is wanted.
        ("kind: Other\n", VOLUME.format(1), [], []),
        (VOLUME.format(0), VOLUME.format(0) + "mount: {secure: true}\n", [], []),
        (LOGIN.format("a"), LOGIN.format("b"), ["machine.registries"], []),
        (
            LOGIN_DOCUMENT.format("a"),
            LOGIN_DOCUMENT.format("b"),
            ["RegistryAuthConfig a"],
            [],
        ),
        (
            PROFILE.format("true"),
            PROFILE.format("false"),
            ["SecurityProfileConfig"],
            ["SecurityProfileConfig"],
        ),
        ("machine: {sysctls: {a: b}}\n", "machine: {sysctls: {a: c}}\n", [], []),
        ("machine: {kubelet: {image: a}}\n", "machine: {kubelet: {image: b}}\n", [], []),
    ],
)
def test_changes_that_wait_for_a_reboot(
    before: str, after: str, in_1_13: list[str], in_1_14: list[str]
) -> None:
    assert waiting(before, after, "v1.13.9") == in_1_13
    assert waiting(before, after, "v1.14.1") == in_1_14
    assert waiting(after, after, "v1.14.1") == []


@pytest.mark.parametrize("talos", ["v1.13.9", "v1.14.1"])
@pytest.mark.parametrize(
    ("before", "after", "waits"),
    [
        ("{name: a}", "{name: a}, {name: b}", False),
        ("{name: a}, {name: b}", "{name: b}, {name: a, parameters: []}", False),
        ("{name: a}", "", True),
        ("{name: a}", "{name: a, parameters: [x=1]}", True),
    ],
)
def test_kernel_modules_are_loaded_and_never_unloaded(
    talos: str, before: str, after: str, waits: bool
) -> None:
    found = waiting(MODULES.format(before), MODULES.format(after), talos)
    assert found == ["machine.kernel.modules"] * waits


def test_kernel_modules_of_documents() -> None:
    one, other = MODULE.format("a", "x=1"), MODULE.format("a", "x=2")
    assert waiting(one, other, "v1.14.1") == ["KernelModuleConfig a"]
    assert waiting("kind: Other\n", one, "v1.14.1") == []
    assert waiting(one, "kind: Other\n", "v1.14.1") == ["KernelModuleConfig a"]


@pytest.mark.parametrize("contract", talos_configs.CONTRACTS)
def test_installation_waits_for_an_upgrade(contract: str) -> None:
    before = talos_configs.text(contract, "worker")
    labels = {"v1.13": "machine.install", "v1.14": "UnattendedInstallConfig"}
    old, new = (
        list(yaml.load_all(text, Loader=yaml.BaseLoader))
        for text in (before, before.replace("/dev/sda", "/dev/vda"))
    )
    assert pending(old, new, talos_configs.CONTRACTS[contract]) == [
        Pending(labels[contract], Until.INSTALL)
    ]
