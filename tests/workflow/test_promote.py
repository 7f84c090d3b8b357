"""What one environment has that another lacks."""

from __future__ import annotations

import pytest

from tests.project import CLUSTER_ENV, Project

PROMOTE = ("promote", "-q", "all", "--config", "from=dev", "to=prod")
_SHARED = (
    "machine:\n  install:\n    disk: /dev/vda\n  certSANs: ['${NODE_IP}', '${CLUSTER_NAME}']\n"
)


@pytest.fixture
def two(dev: Project) -> Project:
    other = CLUSTER_ENV.replace("talos-test", "talos-prod").replace("10.9.0.10", "10.8.0.10")
    dev.environment("prod", cluster_env=other)
    dev.node("prod", "control_planes", "cp_1", "10.8.0.11")
    dev.node("prod", "workers", "metal_1", "10.8.0.21")
    dev.ok("secrets", "--config", "env=prod")
    for name in ("dev", "prod"):
        dev.write(f"patches/envs/{name}/common.yaml", _SHARED)
    return dev


def test_only_what_differs_is_shown(two: Project) -> None:
    shown = two.ok(*PROMOTE).output
    assert "control planes cp_1: no difference\n" in shown
    # They are named after other host names, which are masked.
    assert "workers worker_1 and metal_1: no difference\n" in shown
    assert "only in dev: cp_2, worker_2\n" in shown

    two.write("patches/envs/dev/workers/common.yaml", "machine: {sysctls: {vm.swappiness: '7'}}\n")
    shown = two.ok(*PROMOTE).output
    assert "control planes cp_1: no difference\n" in shown
    hunk = shown.partition("--- prod worker\n+++ dev worker\n")[2].partition("only in")[0]
    changed = [line for line in hunk.splitlines() if line[0] in "+-"]
    assert changed == ["+  sysctls:", "+    vm.swappiness: 7"]


@pytest.mark.parametrize(
    "given", [("from=dev",), ("to=dev",), ("from=dev", "to=dev"), ("env=dev",)]
)
def test_both_environments_must_be_given(dev: Project, given: tuple[str, ...]) -> None:
    error = dev.fails("promote", "--config", *given)
    assert "promote compares two environments" in error
    assert "snakemake promote --config from=dev to=prod" in error


def test_environment_that_is_not_there(dev: Project) -> None:
    assert "there is no environment 'pro'" in dev.fails("promote", "--config", "from=dev", "to=pro")
