"""A machine that two environments have: rendered, told, and not touched."""

from __future__ import annotations

import pytest

from tests.project import CLUSTER_ENV, Project

WORKER = "patches/envs/dev/workers/worker_1/node.env"
OTHER = "patches/envs/prod/workers/w_1/node.env"


@pytest.fixture
def twice(dev: Project) -> Project:
    dev.environment("prod", cluster_env=CLUSTER_ENV.replace("10.9.0.10", "10.8.0.10"))
    dev.node("prod", "control_planes", "p_1", "10.8.0.11")
    dev.node("prod", "workers", "w_1", "10.9.0.21")
    return dev


def test_no_machine_of_two_environments_is_touched(twice: Project) -> None:
    said = f"{WORKER}: the address 10.9.0.21 is in {OTHER}, too"
    assert said in twice.ok("validate", "--config", "env=dev").output
    assert said in twice.ok("apply", "-n", "--config", "env=dev").output
    for target in (("apply",), ("reset",)):
        error = twice.fails(*target, "--config", "env=dev", "confirm=dev")
        assert error.startswith(f"Error: {said}")
        assert "One machine is one environment's" in error
    assert not list((twice.root / "rendered_configs/dev/state").glob("*.machine"))
    assert "machine-twice" in twice.fails("validate", "--config", "env=dev", "strict=true")


def test_a_run_says_it_anew_when_another_environment_changes(twice: Project) -> None:
    twice.ok("validate", "--config", "env=dev")
    assert twice.ok("validate", "--config", "env=dev").jobs == set()
    twice.write(OTHER, "NODE_IP=10.8.0.21\n")
    run = twice.ok("validate", "--config", "env=dev")
    assert run.jobs == {"lint_environment:dev"}
    assert "machine-twice" not in run.output
