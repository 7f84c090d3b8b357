"""Environments of several minor versions of Talos side by side, each with its own talosctl."""

from __future__ import annotations

import json

import pytest

from talosmake.base import talosctls
from tests.project import CLUSTER_ENV, Project

# The Talos and the Kubernetes of each environment.
VERSIONS = {
    "old": ("v1.12.6", "1.35.0"),
    "now": ("v1.13.0", "1.36.0"),
    "new": ("v1.14.1", "1.37.0"),
}


def cluster_env(talos: str, kubernetes: str) -> str:
    """With the contract of the oldest: one may be kept when Talos is upgraded."""
    text = CLUSTER_ENV.replace("v1.13.0", talos).replace("1.36.0", kubernetes)
    return text.replace("TALOS_CONTRACT=v1.13", "TALOS_CONTRACT=v1.12")


@pytest.fixture
def three(project: Project) -> Project:
    for number, (name, versions) in enumerate(VERSIONS.items()):
        project.environment(name, cluster_env=cluster_env(*versions))
        project.node(name, "control_planes", "cp_1", f"10.9.{number}.11")
    project.ok("secrets", "--config", "env=all")
    return project


def validated_by(project: Project, name: str) -> str:
    marker = project.read(f"rendered_configs/{name}/state/controlplane-cp_1.validated")
    return str(json.loads(marker)["talosctl"])


def test_each_environment_has_the_talosctl_of_its_talos(three: Project) -> None:
    three.ok("validate", "-j4", "--config", "env=all")
    wanted = {name: talosctls.version_for(talos) for name, (talos, _) in VERSIONS.items()}
    assert len(set(wanted.values())) == 3
    assert {name: validated_by(three, name) for name in VERSIONS} == wanted
    for name, version in wanted.items():
        minor = talosctls.text(talosctls.minor(version))
        script = three.read(f"rendered_configs/{name}/apply.sh")
        assert f"for talosctl in talosctl-{minor} talosctl " in script
        assert f'== *"v{version}"' in script


def test_another_minor_version_renders_and_validates_again(three: Project) -> None:
    three.ok("validate", "--config", "env=now")
    assert "Nothing to be done" in three.ok("validate", "--config", "env=now").output
    three.environment("now", cluster_env=cluster_env("v1.14.1", "1.36.0"))
    run = three.ok("validate", "--config", "env=now")
    assert {"render_config:now/cp_1", "validate_config:now/cp_1"} <= run.jobs
    assert validated_by(three, "now") == talosctls.version_for("v1.14.1")


def test_talosctl_that_is_not_there_is_told_before_the_first_job(three: Project) -> None:
    three.environment("now", "TALOSCTL_VERSION=1.13.99\n", cluster_env(*VERSIONS["now"]))
    error = three.fails("validate", "-j4", "--config", "env=now")
    assert error.startswith("Error: talosctl 1.13.99 is needed, and not there\n")
    assert "TALOSCTL_VERSION in cluster.env asks for it" in error
    assert not (three.root / "rendered_configs/now/controlplane-cp_1.yaml").exists()
    # The remedy that it names.
    three.environment("now", cluster_env=cluster_env(*VERSIONS["now"]))
    three.ok("validate", "--config", "env=now")
