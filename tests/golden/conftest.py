"""Comparing what is made with the files in expected/.

After a change that is meant:  UPDATE_GOLDEN=1 pytest tests/golden
Then look at the difference (git diff tests/golden/expected) before it is committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from tests.project import CLUSTER_ENV, Project

EXPECTED = Path(__file__).parent / "expected"
Golden = Callable[[str, str], None]


@pytest.fixture
def golden() -> Golden:
    def compare(name: str, text: str) -> None:
        path = EXPECTED / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        assert text == path.read_text(), "if this is meant: UPDATE_GOLDEN=1 pytest tests/golden"

    return compare


AWKWARD = """\
NODE_MAC=52:54:00:AB:CD:EF
NODE_MAINTENANCE_IP=fd00::99
NODE_HOSTNAME=other-name
"""
# No such fingerprint is read; whatever gets into apply.sh is data nevertheless.
FINGERPRINT = 'a\'b "c" $(touch made) `touch made` ${HOME} \\ ; # *'


@pytest.fixture
def awkward(project: Project, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A small environment with values that are easy to get wrong."""
    cluster_env = CLUSTER_ENV.replace("https://10.9.0.10:6443", "https://[fd00::10]:6443")
    facts = (
        "APPLY_MODE=no-reboot\nNODE_TIMEOUT=90.5\nETCD_TIMEOUT=0\nCALL_TIMEOUT=0.2\nMOTD='it''s'\n"
    )
    project.environment("lab-1_a", facts.replace("'it''s'", '"it\'s $5"'), cluster_env)
    project.node("lab-1_a", "control_planes", "cp_1", "10.9.0.11")
    project.node("lab-1_a", "control_planes", "cp-2", "fd00:0:0::12", AWKWARD)
    project.node(
        "lab-1_a", "workers", "w-2", "10.9.0.21", "NODE_HOSTNAME=w\nNODE_ENDPOINT=192.0.2.21\n"
    )
    project.write("patches/common.yaml", SHARED)
    project.write("patches/envs/lab-1_a/control_planes/common.yaml", CONTROL_PLANES)
    project.patch("lab-1_a", "workers", "w-2", NODE)
    monkeypatch.chdir(project.root)
    environment = environments.load("lab-1_a")
    awkward_facts = dict(environment.first_control_plane.facts)
    awkward_facts["NODE_CERT_FINGERPRINT"] = FINGERPRINT
    first = replace(environment.first_control_plane, facts=awkward_facts)
    return replace(environment, nodes=(first, *environment.nodes[1:]))


SHARED = """\
machine:
  network:
    interfaces:
      - deviceSelector:
          hardwareAddr: 22:33:44:55:01:02
        dhcp: true
  sysctls:
    kernel.modules_disabled: "0"
cluster:
  network:
    cni:
      name: none
  proxy:
    disabled: true
"""
CONTROL_PLANES = """\
cluster:
  inlineManifests:
    - name: motd
      contents: |
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: motd
        data:
          text: "${MOTD} $${NOT_REPLACED} ${lower} $HOME"
"""
NODE = """\
# A node's own patch, of two documents.
machine:
  files:
    - path: /var/etc/motd
      permissions: 0o644
      op: create
      content: |
        ${NODE_NAME} (${NODE_ROLE}) of ${ENV}: ${NODE_IP}

        last line
---
---
apiVersion: v1alpha1
kind: LinkConfig
name: net0
addresses:
  - address: ${NODE_IP}/24
"""
