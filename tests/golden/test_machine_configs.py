"""Machine configs made with a bundle of the moment; the golden files have no secret in them."""

from __future__ import annotations

import re
import shutil

import pytest

from talosmake.base import talosctls
from talosmake.inventory import environments
from talosmake.inventory.model import Environment, Node
from talosmake.render import cilium, machine_config
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests.golden.conftest import Golden
from tests.project import CLUSTER_ENV, REPOSITORY, Project
from tests.talos_configs import without_secrets


@pytest.mark.parametrize(("role", "name"), [("controlplane", "cp-2"), ("worker", "w-2")])
def test_machine_config(
    awkward: Environment, golden: Golden, monkeypatch: pytest.MonkeyPatch, role: str, name: str
) -> None:
    golden(f"{role}.yaml", rendered(awkward, awkward.node(role, name), monkeypatch))


@pytest.mark.parametrize("install", ["job", "helm"])
def test_control_plane_with_cilium(
    project: Project, golden: Golden, monkeypatch: pytest.MonkeyPatch, install: str
) -> None:
    version = {"job": "1.20.2", "helm": "0.1.0\nCILIUM_CHART=chart"}[install]
    facts = f"CNI_INSTALL={install}\nCILIUM_VERSION={version}\n"
    facts += "POOL_FIRST=10.9.0.200\nPOOL_LAST=10.9.0.250\n"
    project.environment("lab", facts, CLUSTER_ENV.replace("CNI_INSTALL=none\n", ""))
    project.node("lab", "control_planes", "cp_1", "10.9.0.11")
    shutil.copytree(REPOSITORY / "patches/cilium", project.root / "patches/cilium")
    shutil.copytree(REPOSITORY / "tests/charts/plain", project.root / "chart")
    monkeypatch.chdir(project.root)
    environment = environments.load("lab")
    cilium.write_layer(environment)
    text = rendered(environment, environment.first_control_plane, monkeypatch)
    golden(f"cilium-{install}.yaml", text)


def rendered(environment: Environment, node: Node, monkeypatch: pytest.MonkeyPatch) -> str:
    """A config that talosctl validates, with the names of secrets in place of their values."""
    bundle = generate.gen_secrets("v1.13")
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    config = machine_config.render(environment, node)
    assert generate.validate(config, talosctls.default()) == ""
    text = without_secrets(config, bundle)
    # No key, certificate or token, whatever they are called.
    assert not re.search(r"[A-Za-z0-9+/]{40,}", text)
    assert not re.search(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", text)
    return text
