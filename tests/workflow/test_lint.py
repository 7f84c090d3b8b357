"""Lint in the DAG: when it says something, what strict stops, and switching rules off."""

from __future__ import annotations

import json

import pytest

from tests.project import Project

GO = ("-j4", "--config", "env=dev")
FOUND = "patches/envs/dev/common.yaml:3: machine.install.disk: sda is no path of a disk (all nodes)"
COUNT = "dev: 1 lint finding:"


@pytest.fixture
def project(project: Project) -> Project:
    """dev with a bad disk, and nothing else that lint finds."""
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.10")
    project.node("dev", "workers", "worker_1", "10.9.0.21")
    project.write("patches/envs/dev/common.yaml", "machine:\n  install:\n    disk: sda\n")
    project.ok("secrets", "--config", "env=dev")
    return project


def test_findings_are_said_with_what_is_new_and_by_the_target_lint(project: Project) -> None:
    first = project.ok(*GO)
    assert first.output.count(FOUND) == 1
    assert COUNT in first.output
    assert "Lint findings: 1; snakemake lint --config env=dev" in first.output

    second = project.ok(*GO)
    assert second.jobs == set()
    assert FOUND not in second.output

    assert project.ok("lint", *GO).output.count(FOUND) == 1
    assert project.ok("lint", *GO).jobs == {"lint"}

    project.patch("dev", "workers", "worker_1", "machine:\n  sysctls:\n    a: b\n")
    again = project.ok(*GO)
    assert "validate_config:dev/cp_1" not in again.jobs
    assert again.output.count(FOUND) == 1  # cp_1's part comes from its marker


def test_strict_stops_before_anything_is_applied_and_a_rule_can_be_switched_off(
    project: Project,
) -> None:
    shown = project.fails("apply", *GO, "strict=true")
    assert shown.startswith(f"Error: {COUNT}\n  {FOUND} [disk-path]\n")
    assert "With strict=true nothing is applied until they are fixed." in shown
    state = project.root / "rendered_configs/dev/state"
    assert not list(state.glob("*.applied"))
    assert not (state / "linted").exists()
    assert not list((project.root / "logs/dev").glob("*.apply.log"))
    assert FOUND in project.fails("lint", *GO, "strict=true")

    project.environment("dev", "# To try things out.\nLINT_OFF=disk-path\n")
    project.write("patches/envs/dev/common.yaml", "machine:\n  install:\n    disk: sda\n")
    run = project.ok(*GO, "strict=true")
    assert "lint finding" not in run.output
    assert json.loads((state / "linted").read_text())["findings"] == 0
    assert "dev: no lint findings" in project.ok("lint", *GO, "strict=true").output

    project.environment("dev", "LINT_OFF=disc-path\n")
    shown = project.fails(*GO)
    assert "there is no lint rule 'disc-path'; did you mean disk-path?" in shown


def test_vip_is_compared_with_addresses_as_they_are_now(project: Project) -> None:
    vip = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.9.0.9\nlink: eth0\n"
    project.write("patches/envs/dev/control_planes/common.yaml", vip)
    project.write("patches/envs/dev/common.yaml", "machine:\n  install:\n    disk: /dev/sda\n")
    assert "lint finding" not in project.ok(*GO, "strict=true").output

    worker = "patches/envs/dev/workers/worker_1/node.env"
    before = project.read(worker)
    project.write(worker, before.replace("10.9.0.21", "10.9.0.9"))
    shown = project.fails(*GO, "strict=true")
    assert "common.yaml:3: Layer2VIPConfig: 10.9.0.9 is the address of worker_1" in shown

    project.write(worker, before)
    again = project.ok(*GO, "strict=true")
    assert "validate_config:dev/cp_1" not in again.jobs
    assert "lint finding" not in again.output
