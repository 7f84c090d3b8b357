"""Jobs as processes of their own, by Snakemake's executor for any cluster's commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.project import Project

ENV = ("--config", "env=lab")
# A cluster of this machine alone: jobs run in the background, each in its own process.
_SUBMIT = """\
#!/bin/sh
mkdir -p cluster
number=$(ls cluster | wc -l)
while ! mkdir "cluster/$number" 2>/dev/null; do number=$((number + 1)); done
(sh "$1" >"cluster/$number/log" 2>&1; echo $? >"cluster/$number/code") </dev/null >/dev/null 2>&1 &
echo "$number"
"""
_STATUS = """\
#!/bin/sh
if [ ! -s "cluster/$1/code" ]; then echo running
elif [ "$(cat "cluster/$1/code")" = 0 ]; then echo success
else echo failed; fi
"""


@pytest.fixture
def cluster(lab: Project) -> Project:
    for name in ("control_planes/cp_2", "control_planes/cp_3", "workers/worker_2"):
        lab.remove(f"patches/envs/lab/{name}")
    lab.write("submit.sh", _SUBMIT)
    lab.write("status.sh", _STATUS)
    return lab


def _options(project: Project) -> tuple[str, ...]:
    return (
        *("--executor", "cluster-generic", "--jobs", "2"),
        *("--cluster-generic-submit-cmd", f"sh {project.root / 'submit.sh'}"),
        *("--cluster-generic-status-cmd", f"sh {project.root / 'status.sh'}"),
        *("--seconds-between-status-checks", "1", "--latency-wait", "5"),
    )


def _submitted(project: Project) -> set[str]:
    logs = Path(project.root / "cluster").glob("*/log")
    return {rule for log in logs for rule in re.findall(r"rule (\w+):", log.read_text())}


def test_from_nothing_to_bootstrapped(cluster: Project, network: str) -> None:
    run = cluster.ok("up", *_options(cluster), *ENV, timeout=400)
    assert "lab: 1 control plane and 1 worker: 2 applied; bootstrapped" in run.output
    assert {
        "render_config",
        "validate_config",
        "apply_controlplane",
        "apply_worker",
        "bootstrap_cluster",
    } <= _submitted(cluster)
    assert cluster.talosctl("lab", f"{network}.11", "etcd", "members").code == 0
    assert "Nothing to be done" in cluster.ok("up", *ENV).output


@pytest.mark.long
def test_error_of_a_job_elsewhere(cluster: Project) -> None:
    cluster.patch("lab", "workers", "worker_1", "machine: {netwrok: {}}\n")
    run = cluster.snakemake("validate", *_options(cluster), *ENV, timeout=400)
    assert run.code != 0
    said = cluster.read("logs/lab/worker-worker_1.render.log")
    assert "Error: patches/envs/lab/workers/worker_1/node.yaml: talosctl refuses it" in said
    assert "Traceback" not in run.output
