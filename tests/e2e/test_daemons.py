"""What stays when a run ends knows no secret of its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from talosmake.base.process import daemon_environment
from talosmake.inventory import environments
from talosmake.machines import lab
from tests.project import Project

SECRETS = {
    "SOPS_AGE_KEY": "AGE-SECRET-KEY-1STANDSFORONE",
    "SOPS_AGE_KEY_FILE": "/where/the/key/is",
    "AWS_SECRET_ACCESS_KEY": "of-a-pipeline",
    "CI_JOB_TOKEN": "of-a-job",
    "REGISTRY_PASSWORD": "of-a-registry",
}


def _environment_of(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def _holds_nothing_secret(process: int) -> None:
    found = _environment_of(process)
    assert not set(SECRETS) & set(found)
    assert not set(SECRETS.values()) & set(found.values())
    assert "PATH" in found


def test_simulated_nodes(project: Project, network: str) -> None:
    facts = "SIMULATED=true\nGOAL=applied\n"
    project.environment("lab", facts)
    project.node("lab", "control_planes", "cp_1", f"{network}.11")
    project.env.update(SECRETS)
    project.env["SOPS_AGE_KEY_FILE"] = str(project.root / "none")
    project.snakemake(".simulator/lab/ready", "--config", "env=lab")
    _holds_nothing_secret(int(project.read(".simulator/lab/pid")))


def test_real_nodes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU, and what it starts: the registry of a lab."""
    project.environment("lab", "LAB=true\nNETWORK=10.5.0.0/24\n")
    endpoint = "NODE_ENDPOINT=127.0.20.11\nNODE_MAC=52:54:00:00:00:11\n"
    project.node("lab", "control_planes", "cp_1", "10.5.0.11", endpoint)
    monkeypatch.chdir(project.root)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    environment = environments.load("lab")
    [node] = environment.nodes
    directory = lab.state_directory(environment, node)
    # Stands for QEMU: says that it runs, and starts a program of its own, as QEMU the registry.
    child = f"import subprocess, sys; subprocess.run(['sh', '-c', 'echo $$ > {directory}/child; "
    child += f"echo > {directory}/console.log; sleep 60'])"
    monkeypatch.setattr(lab, "command", lambda *_: [sys.executable, "-c", child])
    monkeypatch.setattr(lab, "_ensure_disk", lambda _: None)
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = start(*arguments, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", noted)
    try:
        lab.power_on(environment, node)
        [process] = started
        _holds_nothing_secret(process.pid)
        _holds_nothing_secret(int((directory / "child").read_text()))
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def test_what_is_listed_is_needed_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/somewhere")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("MY_TOKEN", "x")
    found = daemon_environment()
    assert found["TMPDIR"] == "/somewhere"
    assert found["LC_ALL"] == "C.UTF-8"
    assert "MY_TOKEN" not in found
