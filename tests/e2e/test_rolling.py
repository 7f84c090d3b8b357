"""How many nodes are worked on at a time."""

from __future__ import annotations

import re

from tests.project import Project, Run

UP = ("-j8", "--config", "env=lab")
_SYSCTL = "machine:\n  sysctls:\n    vm.swappiness: '7'\n"


def _most_at_once(run: Run, rule: str) -> int:
    """The most jobs of a rule that ran at the same time, by the order of Snakemake's messages."""
    running = most = 0
    for line in run.output.splitlines():
        if re.fullmatch(rf"(local)?rule {rule}:", line):
            running += 1
            most = max(most, running)
        elif line.endswith(f"(Rule: {rule})"):
            running -= 1
    assert running == 0
    return most


def test_control_planes_one_by_one_once_bootstrapped(lab: Project) -> None:
    first = lab.ok(*UP)
    assert _most_at_once(first, "apply_controlplane") == 3
    lab.write("patches/envs/lab/control_planes/common.yaml", _SYSCTL)
    second = lab.ok(*UP)
    assert len([job for job in second.jobs if job.startswith("apply_controlplane")]) == 3
    assert _most_at_once(second, "apply_controlplane") == 1


def test_workers_by_the_configured_limit(lab: Project) -> None:
    lab.ok(*UP)
    lab.write("patches/envs/lab/workers/common.yaml", _SYSCTL)
    run = lab.ok(*UP, "workers_at_once=1")
    assert len([job for job in run.jobs if job.startswith("apply_worker")]) == 2
    assert _most_at_once(run, "apply_worker") == 1
    lab.write("patches/envs/lab/workers/common.yaml", _SYSCTL.replace("'7'", "'8'"))
    assert _most_at_once(lab.ok(*UP), "apply_worker") == 2


def test_one_job_at_a_time_still_bootstraps(lab: Project, network: str) -> None:
    """Bootstrap goes before the workers, which may need it to have their certificates."""
    run = lab.ok("-j1", "--config", "env=lab")
    order = re.findall(r"^(?:local)?rule (\w+):", run.output, re.MULTILINE)
    assert order.index("bootstrap_cluster") < order.index("apply_worker")
