"""Which Talos a node runs, and which one Git says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from talosmake.base.errors import SecretsError
from talosmake.inventory import environments
from talosmake.inventory.model import Cluster, Environment, Goal, Node, Options, Role
from talosmake.inventory.schematic import PLAIN
from talosmake.render import disclosure
from talosmake.render.layers import NodeLayers
from talosmake.rollout import installed
from talosmake.rollout.installed import Talos
from talosmake.talos.api import _extensions
from talosmake.talos.talosctl import CallError, RunningTalos
from tests.project import Project

ONE, OTHER = "0f" * 32, "a1" * 32
CLUSTER = Cluster("c", "https://10.0.0.1:6443", "v1.13.6", "v1.13", "1.36.0")
NODE = Node("cp_1", Role.CONTROLPLANE, "cp-1", "10.0.0.1", Path("x/cp_1"), (), {})
OPTIONS = Options(Goal.APPLIED, "auto", 5, 5, 5, 1)
ENVIRONMENT = Environment("dev", Path("x"), CLUSTER, OPTIONS, (NODE,), Path("secrets/dev.yaml"))


def config(image: str) -> bytes:
    return f"machine:\n  install:\n    image: {image}\n---\nkind: HostnameConfig\n".encode()


@pytest.mark.parametrize(
    ("image", "version", "schematic"),
    [
        ("ghcr.io/siderolabs/installer:v1.13.5", "v1.13.5", PLAIN),
        ("registry:5000/siderolabs/installer:v1.13.5", "v1.13.5", PLAIN),
        (f"factory.talos.dev/metal-installer/{ONE}:v1.13.5", "v1.13.5", ONE),
        (f"factory.talos.dev/metal-installer-secureboot/{ONE}:v1.13.5", "v1.13.5", ONE),
        (f"factory.talos.dev/installer/{ONE}:v1.13.5@sha256:{OTHER}", "v1.13.5", ONE),
        (f"mirror:5000/factory/metal-installer/{ONE}:1.13.5", "v1.13.5", ONE),
        ("ghcr.io/siderolabs/installer:v1.14.0-beta.1", "v1.14.0-beta.1", PLAIN),
        # Which Talos these bring, Git says elsewhere: TALOS_VERSION.
        (f"factory.talos.dev/metal-installer/{ONE}@sha256:{OTHER}", "v1.13.6", ONE),
        ("registry:5000/me/installer:latest", "v1.13.6", ""),
        ("registry:5000/me/installer", "v1.13.6", ""),
        ("registry/me/installer:v1.13.5-mine", "v1.13.6", ""),
    ],
)
def test_what_git_says_by_the_installer_image(image: str, version: str, schematic: str) -> None:
    assert installed.wanted(CLUSTER, config(image)) == Talos(version, schematic, image)


@pytest.mark.parametrize("text", [b"", b"machine: {type: worker}\n", b"a: [", config("")])
def test_without_an_image_in_the_config_cluster_env_counts(text: bytes) -> None:
    assert installed.wanted(CLUSTER, text).version == "v1.13.6"
    with_schematic = replace(CLUSTER, installer=f"factory.talos.dev/metal-installer/{ONE}:v1.13.6")
    assert installed.wanted(with_schematic, text).schematic == ONE


@pytest.mark.parametrize(
    ("running", "new", "settings"),
    [
        ("disk: /dev/sda, image: i:v1", "disk: /dev/sda, image: i:v2", []),
        ("disk: /dev/sda", "disk: /dev/sdb", ["disk"]),
        ("disk: /dev/sda", "disk: /dev/sda, wipe: false", ["wipe"]),
        ("extraKernelArgs: [a]", "extraKernelArgs: [a, b]", ["extraKernelArgs"]),
        ("disk: a, wipe: true", "diskSelector: {type: nvme}", ["disk", "diskSelector", "wipe"]),
        ("extraKernelArgs: [a]", "", ["extraKernelArgs"]),
    ],
)
def test_what_a_running_node_does_not_read(running: str, new: str, settings: list[str]) -> None:
    one, other = (f"machine: {{install: {{{text}}}}}\n".encode() for text in (running, new))
    assert installed.not_read(one, other) == [f"machine.install.{name}" for name in settings]
    assert installed.not_read(b"kind: HostnameConfig\n---\n" + other, other) == []
    assert installed.not_read(b"a: [", b"machine: {type: worker}\n") == []


def runs(version: str, *extensions: tuple[str, str]) -> Talos:
    return installed.runs(RunningTalos(version, extensions))


SCHEMATIC = ("schematic", ONE)
ISCSI = ("iscsi-tools", "v0.2.0")


@pytest.mark.parametrize(
    ("running", "image", "said"),
    [
        (runs("v1.13.6"), "ghcr.io/siderolabs/installer:v1.13.6", ""),
        (runs("v1.13.6"), "ghcr.io/siderolabs/installer:1.13.6", ""),
        # The factory's plain image and the other plain one are the same.
        (runs("v1.13.6", ("schematic", PLAIN)), "ghcr.io/siderolabs/installer:v1.13.6", ""),
        (runs("v1.13.6"), f"factory.talos.dev/metal-installer/{PLAIN}:v1.13.6", ""),
        (runs("v1.13.6", ISCSI, SCHEMATIC), f"factory.talos.dev/installer/{ONE}:v1.13.6", ""),
        # An image of somebody's own names no schematic: Git says nothing about it.
        (runs("v1.13.6", ISCSI, SCHEMATIC), "registry/me/installer:v1.13.6", ""),
        (
            runs("v1.13.0"),
            "ghcr.io/siderolabs/installer:v1.13.6",
            "Talos v1.13.0, Git says v1.13.6",
        ),
        (
            runs("v1.13.10"),
            "ghcr.io/siderolabs/installer:v1.13.1",
            "Talos v1.13.10, Git says v1.13.1",
        ),
        (
            runs("v1.13.6-dirty"),
            "ghcr.io/siderolabs/installer:v1.13.6",
            "Talos v1.13.6-dirty, Git says v1.13.6",
        ),
        (
            runs("v1.13.6", SCHEMATIC),
            f"factory.talos.dev/metal-installer/{OTHER}:v1.13.6",
            "schematic 0f0f0f0f0f0f…, Git says schematic a1a1a1a1a1a1…",
        ),
        (
            runs("v1.13.6"),
            f"factory.talos.dev/metal-installer/{ONE}:v1.13.6",
            "no extensions, Git says schematic 0f0f0f0f0f0f…",
        ),
        (
            runs("v1.13.0", SCHEMATIC),
            "ghcr.io/siderolabs/installer:v1.13.6",
            "Talos v1.13.0, Git says v1.13.6; schematic 0f0f0f0f0f0f…, Git says no extensions",
        ),
        # Nobody knows of which schematic these are, which is not the same as none, or as one.
        (
            runs("v1.13.6", ISCSI),
            f"factory.talos.dev/metal-installer/{ONE}:v1.13.6",
            "extensions of no schematic, Git says schematic 0f0f0f0f0f0f…",
        ),
        (
            runs("v1.13.6", ISCSI),
            "ghcr.io/siderolabs/installer:v1.13.6",
            "extensions of no schematic, Git says no extensions",
        ),
    ],
)
def test_how_what_runs_differs_from_git(running: Talos, image: str, said: str) -> None:
    found = installed.difference(running, installed.wanted(CLUSTER, config(image)))
    assert str(found or "") == said


@pytest.mark.parametrize(
    ("running", "image", "cell"),
    [
        (runs("v1.13.0"), "ghcr.io/siderolabs/installer:v1.13.6", "v1.13.0 (Git: v1.13.6)"),
        (
            runs("v1.13.6", SCHEMATIC),
            "ghcr.io/siderolabs/installer:v1.13.6",
            "v1.13.6, schematic 0f0f0f0f0f0f… (Git: no extensions)",
        ),
        (
            runs("v1.13.0"),
            f"factory.talos.dev/metal-installer/{ONE}:v1.13.6",
            "v1.13.0, no extensions (Git: v1.13.6, schematic 0f0f0f0f0f0f…)",
        ),
    ],
)
def test_a_difference_in_the_table_of_nodes(running: Talos, image: str, cell: str) -> None:
    found = installed.difference(running, installed.wanted(CLUSTER, config(image)))
    assert found is not None
    assert found.in_short == cell


def to_do(running: Talos, image: str, environment: Environment = ENVIRONMENT) -> list[str]:
    found = installed.difference(running, installed.wanted(environment.cluster, config(image)))
    assert found is not None
    return installed.to_do(NodeLayers(environment, environment.nodes[0]), found)


def test_what_to_do_is_this_nodes_own_command() -> None:
    node = replace(NODE, facts={"NODE_ENDPOINT": "cp-1.example.org"})
    environment = replace(ENVIRONMENT, nodes=(node,))
    image = f"factory.talos.dev/metal-installer/{ONE}:v1.13.6"
    assert to_do(runs("v1.13.0", SCHEMATIC), image, environment) == [
        f"talosctl upgrade --image {image} -n 10.0.0.1 -e cp-1.example.org "
        "--talosconfig rendered_configs/dev/talosconfig"
    ]


def test_minor_versions_are_not_leapt_over() -> None:
    image = "ghcr.io/siderolabs/installer:v1.13.6"
    assert len(to_do(runs("v1.12.3"), image)) == 1
    _, way = to_do(runs("v1.11.1"), image)
    assert way == "from v1.11.1 by way of the newest patch of each minor version between"


def test_extensions_are_not_taken_away_unsaid() -> None:
    _, keep = to_do(runs("v1.13.6", SCHEMATIC), "ghcr.io/siderolabs/installer:v1.13.6")
    assert "takes its extensions away" in keep
    assert f"TALOS_SCHEMATIC_ID={ONE} into x/cluster.env (for this node alone: " in keep


def test_a_schematic_is_kept_by_a_line_where_it_counts(small: Project) -> None:
    small.environment("dev", f"TALOS_SCHEMATIC_ID={OTHER}\n")
    own = "patches/envs/dev/workers/worker_1/node.env"
    small.node("dev", "workers", "worker_1", "10.9.0.21", "TALOS_SCHEMATIC_ID=\n")

    def due() -> tuple[Environment, Node, installed.Difference | None]:
        environment = environments.load("dev")
        node = environment.node("worker", "worker_1")
        git = installed.wanted(environment.cluster_of(node), b"")
        return environment, node, installed.difference(runs("v1.13.0", SCHEMATIC), git)

    environment, node, found = due()
    assert found is not None
    _, keep = installed.to_do(NodeLayers(environment, node), found)
    assert keep.endswith(f"write TALOS_SCHEMATIC_ID={ONE} into {own}")
    # What it says is right.
    small.node("dev", "workers", "worker_1", "10.9.0.21", f"TALOS_SCHEMATIC_ID={ONE}\n")
    assert due()[2] is None


def test_a_schematic_of_a_file_is_registered_before_it_is_installed(small: Project) -> None:
    small.write("patches/envs/dev/s.yaml", "customization: {bootloader: sd-boot}\n")
    small.environment("dev", "TALOS_SCHEMATIC=s.yaml\n")
    environment = environments.load("dev")
    node = environment.workers[0]
    git = installed.wanted(environment.cluster_of(node), b"")
    found = installed.difference(runs("v1.13.0"), git)
    assert found is not None
    assert installed.to_do(NodeLayers(environment, node), found)[1] == (
        "the Image Factory has to know patches/envs/dev/s.yaml first: snakemake schematics "
        "--config env=dev submit=true"
    )


def test_the_nodes_of_a_lab_cannot_be_upgraded() -> None:
    lab = replace(ENVIRONMENT, cluster=replace(CLUSTER, lab=True))
    [said] = to_do(runs("v1.13.0"), "ghcr.io/siderolabs/installer:v1.13.6", lab)
    assert "talosctl" not in said
    assert "TALOS_VERSION=v1.13.0 into x/cluster.env" in said


def test_an_image_of_an_encrypted_patch_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = replace(NODE, patches=(Path("x/install.sops.yaml"),))
    environment = replace(ENVIRONMENT, nodes=(patched,))
    secret = disclosure.secrets_in([], [])

    def secrets_of(*_: object) -> disclosure.Secrets:
        return replace(secret, places=frozenset({(("", ""), ("machine", "install", "image"))}))

    monkeypatch.setattr(disclosure, "secrets_of", secrets_of)
    [line] = to_do(runs("v1.13.0"), "hidden/installer:v1.13.6", environment)
    assert "hidden" not in line
    monkeypatch.setattr(disclosure, "secrets_of", lambda *_: secret)
    [line] = to_do(runs("v1.13.0"), "shown/installer:v1.13.6", environment)
    assert "--image shown/installer:v1.13.6 " in line

    def unreadable(*_: object) -> disclosure.Secrets:
        raise SecretsError("no key")

    monkeypatch.setattr(disclosure, "secrets_of", unreadable)
    [line] = to_do(runs("v1.13.0"), "hidden/installer:v1.13.6", environment)
    assert "hidden" not in line


def test_extensions_as_talosctl_prints_them() -> None:
    one = """\
node: 10.0.0.1
metadata:
    namespace: runtime
    type: ExtensionStatuses.runtime.talos.dev
    id: "{id}"
spec:
    image: {id}.sqsh
    metadata:
        name: {name}
        version: {version}
        author: Image Factory
"""
    first = one.format(id=0, name="iscsi-tools", version="v0.2.0")
    second = one.format(id=1, name="schematic", version=ONE)
    assert _extensions(f"{first}---\n{second}".encode()) == (ISCSI, SCHEMATIC)
    assert _extensions(b"") == ()
    number = one.format(id=0, name="mine", version="20240102")
    assert _extensions(number.encode()) == (("mine", "20240102"),)


@pytest.mark.parametrize("answer", [b"a: [", b"- 1\n", b"spec: {}\n", b"spec: {metadata: 1}\n"])
def test_what_is_no_list_of_extensions_is_not_taken_for_none(answer: bytes) -> None:
    with pytest.raises(CallError, match="no list of extensions"):
        _extensions(answer)
