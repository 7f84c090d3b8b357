"""``schematics``: what is listed, and what ``submit=true`` registers at a stand-in factory."""

from __future__ import annotations

import re

import pytest

from talosmake.inventory.schematic import PLAIN
from tests import factory
from tests.project import Project

TEXT = "customization: {systemExtensions: {officialExtensions: [siderolabs/i915]}}\n"


def test_listed_and_registered(dev: Project) -> None:
    with factory.running() as server:
        dev.write("patches/envs/dev/s.yaml", TEXT)
        given = dev.read("patches/envs/dev/cluster.env")
        facts = f"TALOS_SCHEMATIC=s.yaml\nIMAGE_FACTORY={server.url}\n"
        dev.write("patches/envs/dev/cluster.env", given + facts)
        shown = dev.ok("schematics", "-q", "all", "--config", "env=dev").output
        assert "extensions  siderolabs/i915" in shown
        assert server.sent == []
        run = ("schematics", "-q", "all", "--config", "env=dev", "submit=true")
        assert f"registered at {server.host} as" in dev.ok(*run).output
        assert [text for _, _, text in server.sent] == [TEXT]
        # What is configured to be installed is what was registered.
        dev.ok("render", "--config", "env=dev")
        config = dev.read("rendered_configs/dev/worker-worker_1.yaml")
        installer = next(line for line in shown.splitlines() if "installer" in line).split()[1]
        assert f"image: {installer}" in config

        server.answer = (400, b"no such extension")
        error = dev.fails(*run)
        assert "s.yaml: http://127.0.0.1:" in error
        assert "HTTP 400 Bad Request: no such extension" in error


def test_without_a_schematic_nothing_but_the_plain_one(dev: Project) -> None:
    shown = dev.ok("schematics", "-q", "all", "--config", "env=dev").output
    assert "installer   ghcr.io/siderolabs/installer:v1.13.0" in shown


@pytest.mark.parametrize(
    ("contract", "kind"), [("v1.13", ""), ("v1.14", "UnattendedInstallConfig")]
)
def test_installers_of_talos_1_14_in_both_layouts(dev: Project, contract: str, kind: str) -> None:
    facts = dev.read("patches/envs/dev/cluster.env")
    for name, value in {"TALOS_VERSION": "v1.14.1", "TALOS_CONTRACT": contract}.items():
        facts = re.sub(rf"^{name}=.*$", f"{name}={value}", facts, flags=re.MULTILINE)
    dev.write("patches/envs/dev/cluster.env", facts)
    if kind:  # it has no machine.install
        dev.write("patches/envs/dev/common.yaml", "")
    dev.write("patches/envs/dev/workers/common.env", f"TALOS_SCHEMATIC_ID={'0a' * 32}\n")
    dev.ok("render", "-j2", "--config", "env=dev")
    base = "factory.talos.dev/metal-installer"
    images = {"controlplane-cp_1": PLAIN, "worker-worker_1": "0a" * 32}
    for name, schematic in images.items():
        config = dev.read(f"rendered_configs/dev/{name}.yaml")
        assert f"image: {base}/{schematic}:v1.14.1\n" in config
        assert (f"kind: {kind}\n" in config) or not kind
