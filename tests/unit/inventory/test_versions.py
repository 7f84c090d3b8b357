"""Versions in Git, held against what the pinned talosctl knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base import talosctls
from talosmake.base.errors import InventoryError, PatchError, ToolError
from talosmake.base.tools import TALOSCTL
from talosmake.inventory import environments, versions
from talosmake.inventory.model import Cluster
from talosmake.inventory.schematic import PLAIN
from talosmake.patches.patch import parse
from talosmake.render import hints, machine_config
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests.project import CLUSTER_ENV, REPOSITORY, Project

PATH = Path("patches/envs/dev/cluster.env")
BUNDLE = generate.gen_secrets("v1.13")


def refused(talos: str, kubernetes: str, talosctl: str = "") -> InventoryError:
    with pytest.raises(InventoryError) as error:
        versions.check(talos, kubernetes, PATH, talosctl)
    assert all(line.startswith(f"{PATH}: ") for line in error.value.message.splitlines())
    return error.value


@pytest.mark.parametrize(
    ("talos", "kubernetes"),
    [
        ("v1.14.1", "1.37.2"),
        ("v1.14.0", "1.32.0"),
        ("v1.13.0", "1.36.0"),
        ("v1.13.99", "1.36.99"),
        ("v1.13.0-rc.1", "1.31.0"),
        ("v1.13.0", "1.36.0-rc.1"),
        ("v1.12.3", "1.30.0"),
        ("v1.12.3", "1.35.9"),
        ("v1.9.0", "1.32.0"),
    ],
)
def test_versions_that_go_together(talos: str, kubernetes: str) -> None:
    versions.check(talos, kubernetes, PATH)


@pytest.mark.parametrize("talos", ["v1.15.0", "v1.15.0-alpha.1", "v1.99.0", "v2.0.0"])
def test_talos_newer_than_any_talosctl(talos: str) -> None:
    error = refused(talos, "1.36.0")
    assert error.message == (
        f"{PATH}: TALOS_VERSION={talos} is newer than what any talosctl here knows: they are "
        "pinned for Talos 1.12, 1.13 and 1.14"
    )
    assert error.hint == (
        "Write a version of one of these. docs/versions.md says how the talosctl of another minor "
        "version is added."
    )


@pytest.mark.parametrize(("talos", "talosctl"), [("v1.13.0", "1.13.4"), ("v1.11.0", "1.12.3")])
def test_another_patch_version_of_talosctl(talos: str, talosctl: str) -> None:
    versions.check(talos, "1.33.0", PATH, talosctl)


@pytest.mark.parametrize("talosctl", ["1.12.6", "1.14.1", "2.13.0"])
def test_another_minor_version_of_talosctl_is_refused(talosctl: str) -> None:
    error = refused("v1.13.0", "1.36.0", talosctl)
    assert error.message == (
        f"{PATH}: TALOSCTL_VERSION={talosctl} is no talosctl 1.13, and that serves this "
        "TALOS_VERSION"
    )
    assert error.hint == (
        "Write another patch version of 1.13, or remove the line: then it is "
        f"{talosctls.version_for('v1.13.0')}."
    )


@pytest.mark.parametrize(
    ("talos", "kubernetes", "range_", "later"),
    [
        ("v1.14.1", "1.38.0", "1.32 to 1.37", ""),
        ("v1.14.1", "1.31.9", "1.32 to 1.37", ""),
        ("v1.13.0", "1.37.0", "1.31 to 1.36", "1.14"),
        ("v1.13.0", "1.30.9", "1.31 to 1.36", ""),
        ("v1.13.0", "1.4.0", "1.31 to 1.36", ""),
        ("v1.13.0", "2.0.0", "1.31 to 1.36", ""),
        ("v1.12.1", "1.36.0", "1.30 to 1.35", "1.13"),
        ("v1.12.1", "1.29.0", "1.30 to 1.35", ""),
    ],
)
def test_kubernetes_that_this_talos_does_not_take(
    talos: str, kubernetes: str, range_: str, later: str
) -> None:
    error = refused(talos, kubernetes)
    assert error.message == (
        f"{PATH}: KUBERNETES_VERSION={kubernetes} does not go with TALOS_VERSION={talos}: Talos "
        f"{talos[1:5]} takes Kubernetes {range_}"
    )
    upgrade = f" Talos {later} is the first that takes it." if later else ""
    assert error.hint == f"Write one of these.{upgrade}"


@pytest.mark.parametrize("talos", ["v1.1.9", "v0.14.0"])
def test_talos_that_no_talosctl_knows_any_more(talos: str) -> None:
    error = refused(talos, "1.36.0")
    assert f"TALOS_VERSION={talos} is older than what any talosctl here knows" in error.message


def test_what_the_docs_say_of_kubernetes_is_in_the_table() -> None:
    page = (REPOSITORY / "docs/versions.md").read_text()
    for talos in talosctls.minors():
        oldest, newest = map(talosctls.text, versions.known(talos).kubernetes[talos])
        pinned = talosctls.pinned(talos).pinned
        assert f"| {talosctls.text(talos)} | {pinned} | {oldest} to {newest} |" in page


def test_table_is_of_the_pinned_talosctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = versions.TABLE.read_text()
    other = tmp_path / "talos.json"
    other.write_text(text.replace(f'"talosctl": "{TALOSCTL.pinned}"', '"talosctl": "1.2.3"'))
    monkeypatch.setattr(versions, "TABLE", other)
    caches = (versions.known, versions._tables)
    for cached in caches:
        cached.cache_clear()
    try:
        with pytest.raises(ToolError) as error:
            versions.known(talosctls.minor(TALOSCTL.pinned))
    finally:
        for cached in caches:
            cached.cache_clear()
    assert f"was made for talosctl 1.2.3, and {TALOSCTL.pinned} is pinned" in error.value.message
    assert error.value.hint == "Run:  make versions"


VRF = "apiVersion: v1alpha1\nkind: VRFConfig\nname: blue\ntable: 100\n"
NEW = {
    VRF: "common.yaml:2: the document VRFConfig is new in Talos 1.13",
    "machine: {sysctls: {a: b}}\n---\n" + VRF: "common.yaml:4: the document VRFConfig is new in",
    "cluster:\n  network:\n    cni:\n      flannel:\n        kubeNetworkPoliciesEnabled: true\n": (
        "common.yaml:5: cluster.network.cni.flannel.kubeNetworkPoliciesEnabled is new in Talos 1.13"
    ),
    "kind: UserVolumeConfig\nname: data\nmount:\n  secure: true\n": (
        "common.yaml:3: UserVolumeConfig: mount is new in Talos 1.13"
    ),
}


@pytest.mark.parametrize("text", NEW)
def test_what_the_nodes_do_not_know_yet(text: str) -> None:
    patch = parse(text, Path("common.yaml"))
    with pytest.raises(PatchError) as error:
        versions.check_documents([patch], "v1.12.4")
    assert error.value.message.startswith(NEW[text])
    assert "the nodes have TALOS_VERSION=v1.12.4" in error.value.message
    versions.check_documents([patch], "v1.13.0")


def test_lists_stand_between_a_field_and_its_document() -> None:
    text = "kind: VolumeConfig\nname: STATE\nencryption:\n  keys:\n    - slot: 0\n"
    text += "      tpm:\n        options: {}\n"
    patch = parse(text, Path("a.yaml"))
    with pytest.raises(PatchError) as error:
        versions.check_documents([patch], "v1.11.0")
    line = "a.yaml:7: VolumeConfig: encryption.keys.tpm.options is new in Talos 1.12"
    assert error.value.message.startswith(line)
    versions.check_documents([patch], "v1.12.0")


def test_rendering_refuses_what_the_nodes_do_not_know(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    older = CLUSTER_ENV.replace("v1.13", "v1.12").replace("1.36.0", "1.35.0")
    small.environment("dev", cluster_env=older)
    environment = environments.load("dev")
    node = environment.first_control_plane
    assert machine_config.render(environment, node)
    small.patch("dev", "control_planes", "cp_1", VRF)
    environment = environments.load("dev")
    with pytest.raises(PatchError, match=r"node\.yaml:2: the document VRFConfig is new in Talos"):
        machine_config.render(environment, environment.first_control_plane)


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        (
            "apiVersion: v1alpha1\nkind: GatewayConfig\nname: a\n",
            "talosctl 1.13.0 knows no document of the kind GatewayConfig.\n"
            "If a later Talos has it: docs/versions.md says how the talosctl of another minor",
        ),
        (
            "apiVersion: v1alpha1\nkind: HostNameConfig\nhostname: a\n",
            "talosctl 1.13.0 knows no document of the kind HostNameConfig. Did you mean "
            "HostnameConfig?\nIf a later Talos",
        ),
        (
            "apiVersion: v2\nkind: HostnameConfig\nhostname: a\n",
            "talosctl 1.13.0 knows HostnameConfig by another apiVersion: v1alpha1.",
        ),
    ],
)
def test_kind_that_talosctl_does_not_know(
    small: Project, monkeypatch: pytest.MonkeyPatch, document: str, hint: str
) -> None:
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    small.patch("dev", "workers", "worker_1", document)
    environment = environments.load("dev")
    with pytest.raises(PatchError) as error:
        machine_config.render(environment, environment.workers[0])
    assert "not registered" in error.value.message
    assert error.value.hint.startswith(hint.replace("1.13.0", TALOSCTL.pinned))


def test_hint_needs_talosctls_words() -> None:
    assert hints.of_refusal("something else", TALOSCTL.pinned) == hints.LINE_NUMBERS


@pytest.mark.parametrize(
    ("talos", "image"),
    [
        ("v1.13.8", "ghcr.io/siderolabs/installer:v1.13.8"),
        ("v1.14.0", f"factory.talos.dev/metal-installer/{PLAIN}:v1.14.0"),
        ("v1.14.0-rc.1", f"factory.talos.dev/metal-installer/{PLAIN}:v1.14.0-rc.1"),
        ("v2.0.0", f"factory.talos.dev/metal-installer/{PLAIN}:v2.0.0"),
    ],
)
def test_installer_without_a_schematic(talos: str, image: str) -> None:
    cluster = Cluster("c", "https://10.9.0.10:6443", talos, "v1.13", "1.36.0")
    assert cluster.installer_image == image
    other = Cluster("c", "https://x:1", talos, "v1.13", "1.36.0", installer="example/installer:1")
    assert other.installer_image == "example/installer:1"
