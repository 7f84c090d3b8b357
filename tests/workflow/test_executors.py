"""Jobs as processes of their own, by Snakemake's executor for any cluster's commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.fleet import real_machines

from tests.aged import SPOILED
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


# One submission is for many nodes.
_GROUPS = (
    *("--groups", "render_config=render", "validate_config=render"),
    *("--group-components", "render=25"),
)


def _with_a_cluster(project: Project) -> Project:
    project.write("submit.sh", _SUBMIT)
    project.write("status.sh", _STATUS)
    return project


@pytest.fixture
def cluster(lab: Project) -> Project:
    for name in ("control_planes/cp_2", "control_planes/cp_3", "workers/worker_2"):
        lab.remove(f"patches/envs/lab/{name}")
    return _with_a_cluster(lab)


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

    # What renews itself does so in a process of its own, once.
    SPOILED["half over"](cluster.root / "rendered_configs/lab", b"")
    cluster.remove("rendered_configs/lab/kubeconfig")
    run = cluster.ok("up", *_options(cluster), *ENV, timeout=400)
    assert run.jobs == {"talosconfig:lab", "kubeconfig:lab"}
    assert cluster.read("rendered_configs/lab/kubeconfig")
    assert "Nothing to be done" in cluster.ok("up", *ENV).output


@pytest.mark.long
def test_two_hundred_nodes(tmp_path: Path) -> None:
    """Encrypted secrets, decrypted by each process for itself."""
    fleet = _with_a_cluster(real_machines(tmp_path / "fleet", 200))
    options = ("validate", *_options(fleet), *_GROUPS, "--config", "env=bench")
    fleet.ok(*options, timeout=900)
    configs = fleet.root / "rendered_configs/bench"
    assert len(list(configs.glob("*-node_*.yaml"))) == 200
    assert len(list((configs / "state").glob("*.validated"))) == 200
    submissions = len(list((fleet.root / "cluster").iterdir()))
    assert 200 // 25 <= submissions <= 200 // 25 + 4
    assert "render_config" in _submitted(fleet)

    fleet.patch(
        "bench", "workers", "node_0150", "machine: {sysctls: {vm.swappiness: '1'}}\n", "z.yaml"
    )
    fleet.ok(*options, timeout=300)
    assert len(list((fleet.root / "cluster").iterdir())) <= submissions + 2
    assert "vm.swappiness" in (configs / "worker-node_0150.yaml").read_text()
    assert "Nothing to be done" in fleet.ok("validate", "--config", "env=bench").output


@pytest.mark.long
def test_error_of_a_job_elsewhere(cluster: Project) -> None:
    cluster.patch("lab", "workers", "worker_1", "machine: {netwrok: {}}\n")
    run = cluster.run(*cluster.command("validate", *_options(cluster), *ENV), timeout=400)
    assert run.code != 0
    said = cluster.read("logs/lab/worker-worker_1.render.log")
    assert "Error: patches/envs/lab/workers/worker_1/node.yaml: talosctl refuses it" in said
    assert "Traceback" not in run.output
    assert re.search(r"failed  lab/worker_1: rendering", run.output), run.output
    assert "  log: logs/lab/worker-worker_1.render.log" in run.output
    assert re.search(r"^  external jobid: \d+", run.output, re.MULTILINE)
