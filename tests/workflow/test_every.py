"""env=all: what is wrong with one environment stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.project import CLUSTER_ENV, Project

ALL = ("-j4", "--config", "env=all")
CONFIG = "rendered_configs/{}/controlplane-cp_1.yaml"


@pytest.fixture
def three(project: Project) -> Project:
    """Environments a, b and c; that in the middle is often the broken one."""
    for number, name in enumerate("abc"):
        project.environment(name)
        project.node(name, "control_planes", "cp_1", f"10.9.{number}.11")
    project.ok("secrets", "--config", "env=all")
    return project


def made(project: Project) -> set[str]:
    return {name for name in "abc" if (project.root / CONFIG.format(name)).exists()}


def test_each_has_its_own_logs_and_journal(three: Project) -> None:
    three.ok("validate", *ALL)
    assert made(three) == {"a", "b", "c"}
    assert sorted(path.name for path in (three.root / "logs").iterdir()) == ["a", "b", "c"]
    for name in "abc":
        assert "controlplane-cp_1.render" in three.read(f"logs/{name}/last_run.jsonl")
    three.ok("lint", *ALL)
    three.ok("nodes", *ALL)
    assert {path.parent.name for path in three.root.glob("logs/*/lint.log")} == {"a", "b", "c"}
    assert not (three.root / "logs/all").exists()
    assert three.ok("validate", *ALL).output.count("Nothing to be done") == 3


BROKEN = {
    "cluster.env": ("patches/envs/b/cluster.env", "no line\n", "not a KEY=value line"),
    "node.env": ("patches/envs/b/control_planes/cp_1/node.env", "NODE_IP=x\n", "NODE_IP"),
    "patch": ("patches/envs/b/common.yaml", "machine: [\n", "not YAML"),
    "fact": (
        "patches/envs/b/common.yaml",
        "machine: {sysctls: {a: '${X}'}}\n",
        "${X} is not known",
    ),
    "rule": ("patches/envs/b/cluster.env", "LINT_OFF=none\n", "there is no lint rule"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_one_broken_environment_stops_no_other(three: Project, what: str) -> None:
    path, text, said = BROKEN[what]
    three.write(path, three.read(path) + text if path.endswith("cluster.env") else text)
    run = three.snakemake("validate", *ALL)
    assert run.code == 1
    assert said in run.output
    assert "Error: env=all: failed: b; done: a, c" in run.output
    assert made(three) == {"a", "c"}
    # The same where there is nothing to be done, and for what only looks.
    again = three.snakemake("validate", *ALL)
    assert again.code == 1
    assert again.output.count("Nothing to be done") == 2
    lint = three.snakemake("lint", *ALL)
    assert lint.code == 1
    assert "a: " in lint.output
    assert "c: " in lint.output
    assert "Traceback" not in lint.output


def test_environment_without_secrets_stops_no_other(three: Project) -> None:
    three.remove("secrets/b.yaml")
    run = three.snakemake("validate", *ALL)
    assert run.code == 1
    assert made(three) == {"a", "c"}
    assert "Error: env=all: failed: b; done: a, c" in run.output


def test_all_by_config_yaml_and_from_elsewhere(three: Project) -> None:
    three.write("config/config.yaml", "env: all\n")
    three.ok("validate", "-j2")
    assert made(three) == {"a", "b", "c"}
    command = three.command("-d", three.root.name, "nodes", "--config", "env=all")
    outside = Project(three.root.parent, three.env)
    run = outside.run(*command)
    assert run.code == 0, run.output
    assert run.output.count("not bootstrapped") == 3


def test_told_to_end_none_is_begun(project: Project, network: str) -> None:
    for number, name in enumerate("ab"):
        address = f"{network}.{11 + number}"
        cluster = CLUSTER_ENV.replace("talos-test", f"talos-{name}")
        facts = "NODE_TIMEOUT=120\n"
        project.environment(name, facts, cluster.replace("10.9.0.10", address))
        project.node(name, "control_planes", "cp_1", address)
    project.ok("secrets", "--config", "env=all")
    process = project.start("apply", *ALL)
    log = project.root / "logs/a/controlplane-cp_1.apply.log"
    end = time.monotonic() + 60
    while not (log.exists() and "waiting for" in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: env=all: failed: a; not begun: b" in output
    left = subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True, check=False)
    assert left.stdout == b""
