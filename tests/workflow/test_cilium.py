"""Cilium's layer is made once per environment, and reaches its control planes only."""

from __future__ import annotations

import shutil

import pytest

from tests.project import CLUSTER_ENV, REPOSITORY, Project

GO = ("-j4", "--config", "env=dev")
VALUES = "patches/cilium/values.yaml"
CONTROL_PLANES = {
    "cilium_layer:dev",
    "lint_environment:dev",
    *(f"{step}:dev/{node}" for step in ("render_config", "validate_config") for node in ("a", "b")),
}


@pytest.fixture
def built(project: Project) -> Project:
    """A project by ``helm`` with a chart of its own: two control planes, a worker."""
    facts = "CNI_INSTALL=helm\nCILIUM_VERSION=0.1.0\nCILIUM_CHART=chart\n"
    project.environment("dev", facts, CLUSTER_ENV.replace("CNI_INSTALL=none\n", ""))
    project.node("dev", "control_planes", "a", "10.9.0.11")
    project.node("dev", "control_planes", "b", "10.9.0.12")
    project.node("dev", "workers", "w", "10.9.0.21")
    project.write(VALUES, (REPOSITORY / VALUES).read_text())
    shutil.copytree(REPOSITORY / "tests/charts/plain", project.root / "chart")
    project.ok("secrets", "--config", "env=dev")
    first = project.ok(*GO)
    assert first.jobs >= CONTROL_PLANES
    assert "render_config:dev/w" in first.jobs
    assert project.ok(*GO).jobs == set()
    return project


def test_what_cilium_is_made_of_reaches_control_planes_only(built: Project) -> None:
    built.write("patches/envs/dev/cilium.yaml", "debug: {enabled: true}\n")
    assert built.ok(*GO).jobs == CONTROL_PLANES
    config = built.read("rendered_configs/dev/controlplane-a.yaml")
    assert "debug" in config
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    built.write("patches/cilium/manifests/a.yaml", manifest)
    assert built.ok(*GO).jobs == CONTROL_PLANES
    built.remove("patches/cilium/manifests/a.yaml")
    assert built.ok(*GO).jobs == CONTROL_PLANES
    assert built.read("rendered_configs/dev/controlplane-a.yaml") == config
    template = built.root / "chart/templates/all.yaml"
    template.write_text(template.read_text() + "  more: data\n")
    assert built.ok(*GO).jobs == CONTROL_PLANES


def steps(node: str) -> set[str]:
    return {f"render_config:dev/{node}", f"validate_config:dev/{node}", "lint_environment:dev"}


def test_patch_of_a_node_renders_no_chart(built: Project) -> None:
    built.patch("dev", "workers", "w", "machine: {sysctls: {a: b}}\n")
    assert built.ok(*GO).jobs == steps("w")
    built.patch("dev", "control_planes", "a", "machine: {sysctls: {a: b}}\n")
    assert built.ok(*GO).jobs == steps("a")


def test_mistake_is_shown_as_its_message(built: Project) -> None:
    shutil.copy(
        REPOSITORY / "tests/charts/random/templates/secret.yaml", built.root / "chart/templates"
    )
    shown = built.fails(*GO)
    assert shown.startswith(
        "Error: dev: the chart chart gives another output each time: Secret kube-system/made-up"
    )
    assert not (built.root / "rendered_configs/dev/state/cilium.yaml").exists()
    built.write("patches/cilium/manifests/a.yml", "")
    assert built.fails(*GO) == (
        "Error: patches/cilium/manifests/a.yml: is not read\n  -> Rename it to a.yaml."
    )


def test_without_cilium_there_is_no_step(built: Project) -> None:
    built.environment("dev", cluster_env=CLUSTER_ENV)
    assert "cilium_layer:dev" not in built.ok(*GO).jobs
    assert "inlineManifests" not in built.read("rendered_configs/dev/controlplane-a.yaml")
