"""Explain, with the real talosctl: the origin of every value of a config of several documents."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from talosmake.base.redact import REDACTED
from talosmake.inventory import environments
from talosmake.report import explain, provenance
from tests.golden.conftest import Golden
from tests.project import Project

COMMON = """\
machine:
  sysctls:
    vm.swappiness: "60"
    net.core.somaxconn: "${SOMAXCONN}"
  network:
    interfaces:
      - interface: eth0
        dhcp: true
"""
CONTROL_PLANES = """\
machine:
  certSANs: [api.example.org]
cluster:
  proxy:
    disabled: true
---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning:
  maxSize: 50GiB
"""
NODE = """\
machine:
  certSANs: [cp.example.org]
  sysctls:
    # overrides: this machine has much memory
    vm.swappiness: "10"
  network:
    interfaces:
      - interface: eth0
        mtu: 9000
  files:
    - path: /var/motd
      op: create
      content: |
        two # lines
        : of text
---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning:
  maxSize: 80GiB
"""


@pytest.fixture
def layered(dev: Project) -> Project:
    dev.write("patches/common.yaml", COMMON)
    dev.write("patches/envs/dev/control_planes/common.yaml", CONTROL_PLANES)
    dev.patch("dev", "control_planes", "cp_1", NODE)
    path = "patches/envs/dev/cluster.env"
    dev.write(path, dev.read(path) + "SOMAXCONN=1024\n")
    return dev


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


def test_explain(layered: Project, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    node = ("--config", "env=dev", "node=cp_1")
    shown = layered.ok("explain", "-q", "all", *node, "path=machine.sysctls").output
    assert (
        "machine.sysctls[vm.swappiness]: '10'\n"
        "    patches/envs/dev/control_planes/cp_1/node.yaml:5, over '60' of patches/common.yaml:3\n"
    ) in shown
    assert "machine.sysctls[net.core.somaxconn]: '1024'\n    patches/common.yaml:4\n" in shown
    assert "certSANs" not in shown

    text = layered.read("rendered_configs/dev/explain/controlplane-cp_1.yaml")
    golden("explained.yaml", text)
    config = documents(layered.read("rendered_configs/dev/controlplane-cp_1.yaml"))
    assert redacted(config, documents(text)) == documents(text)

    # Every value that is not the base's comes from a file that holds it.
    monkeypatch.chdir(layered.root)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", layered.env["SOPS_AGE_KEY_FILE"])
    dev = environments.load("dev")
    seen = explain.explain(dev, dev.node("controlplane", "cp_1"))
    assert [provenance.plain(tree) for tree in seen.documents.values()] == config


def redacted(real: Any, shown: Any) -> Any:
    """The real value, with what is redacted in the shown one."""
    if isinstance(real, dict) and isinstance(shown, dict):
        assert list(real) == list(shown)
        return {key: redacted(value, shown[key]) for key, value in real.items()}
    if isinstance(real, list) and isinstance(shown, list):
        return [redacted(one, other) for one, other in zip(real, shown, strict=True)]
    return REDACTED if shown == REDACTED else real


def test_mistakes(layered: Project) -> None:
    config = ("--config", "env=dev")
    error = layered.fails("explain", *config, "node=cp1")
    assert "dev has no node 'cp1'; did you mean cp_1?" in error
    assert "There are: cp_1, cp_2, worker_1, worker_2" in error
    error = layered.fails("explain", *config, "node=cp_1", "path=machine.netwrok")
    assert "dev/cp_1: its config has no machine.netwrok" in error


def test_all_nodes_are_written_when_none_is_named(layered: Project) -> None:
    shown = layered.ok("explain", "--config", "env=dev").output
    for name in ("controlplane-cp_1", "controlplane-cp_2", "worker-worker_1", "worker-worker_2"):
        path = f"rendered_configs/dev/explain/{name}.yaml"
        assert path in shown
        assert (layered.root / path).stat().st_mode & 0o777 == 0o600
