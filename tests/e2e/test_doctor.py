"""What is missing on this machine, and what mends it."""

from __future__ import annotations

import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from scripts import doctor, inventory, talosctl, vms
from scripts.doctor import Verdict
from scripts.errors import ToolError
from tests.project import BIN, REPOSITORY, Project

UP = ("-j4", "--config", "env=lab")


def examine(lab: Project, code: int) -> str:
    run = lab.snakemake("doctor", "-q", "all", "--config", "env=lab")
    assert run.code == code, run.output
    assert "Traceback" not in run.output
    return run.output


def test_before_and_after_a_run(lab: Project, network: str) -> None:
    shown = examine(lab, 0)
    assert "ok       talosctl fits 1.13.0: " in shown
    assert "warning  this project is in no Git repository" in shown
    assert "lab: its throw-away secrets are made when they are needed" in shown
    assert "warning  lab: its nodes are not asked, as there is no talosconfig yet" in shown
    assert not (lab.root / "rendered_configs").exists()
    assert not (lab.root / "secrets").exists()

    lab.ok(*UP)
    shown = examine(lab, 0)
    assert "ok       lab: secrets/lab.yaml can be decrypted\n" in shown
    assert "ok       rendered_configs/lab/talosconfig: its certificate is valid until 20" in shown
    assert shown.count(": running\n") == 5

    lab.ok("simulator_stop", *UP)
    (lab.root / "rendered_configs/lab/worker-worker_1.yaml").chmod(0o644)
    (lab.root / "rendered_configs").chmod(0o755)
    (lab.root / "rendered_configs/lab").chmod(0o755)
    for parent in lab.root.parents:
        if parent.stat().st_mode & 0o011 == 0:
            parent.chmod(0o711)
    (lab.root).chmod(0o755)
    shown = examine(lab, 1)
    assert shown.count(": does not answer: ") == 5
    assert f"missing  lab/cp_1 ({network}.11): does not answer: " in shown
    config = "rendered_configs/lab/worker-worker_1.yaml"
    assert f"missing  {config}: others on this machine may read it\n" in shown
    assert f"         -> chmod go= {config}\n" in shown
    assert "Error: doctor: 6 missing, 1 warning\n" in shown


def test_key_that_does_not_fit(dev: Project) -> None:
    assert "ok       dev: secrets/dev.yaml can be decrypted" in _of(dev)
    dev.env["SOPS_AGE_KEY_FILE"] = str(dev.root / "none")
    assert "missing  secrets/dev.yaml: " in _of(dev)


def _of(dev: Project) -> str:
    return dev.snakemake("doctor", "-q", "all", "--config", "env=dev").output


def test_git(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    subprocess.run(["git", "init", "-q", "."], check=True)
    found = {check.what: check.verdict for check in doctor.repository()}
    assert found == {
        "Git does not ignore rendered_configs/, which the workflow writes": Verdict.MISSING,
        "Git does not ignore logs/, which the workflow writes": Verdict.WARNING,
        "Git does not ignore .snakemake/, which the workflow writes": Verdict.WARNING,
        "no pre-commit hook looks for unencrypted secrets": Verdict.WARNING,
    }
    project.write(".gitignore", "/rendered_configs/\n/logs/\n/.snakemake/\n")
    project.write(".git/hooks/pre-commit", "#!/bin/sh\n")
    assert [check.verdict for check in doctor.repository()] == [Verdict.OK]


def test_hook_that_is_told_works_after_set_up_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    for name in ("scripts", "share"):
        (project.root / name).symlink_to(REPOSITORY / name)
    (project.root / ".venv").symlink_to(BIN.parent)
    project.write(".gitignore", "/rendered_configs/\n/logs/\n/.snakemake/\n/.venv\n")
    subprocess.run(["git", "init", "-q", "."], check=True)
    [check] = doctor.repository()
    # Nothing that only the tests' packages bring is on PATH.
    bare = ["env", "PATH=/usr/bin:/bin"]
    assert project.run(*bare, "sh", "-c", check.mend).code == 0
    assert [check.verdict for check in doctor.repository()] == [Verdict.OK]

    commit = (*bare, "git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-m", "x")
    project.write("secrets/dev.yaml", "a: b\n")
    project.run("git", "add", ".")
    refused = project.run(*commit)
    assert refused.code != 0
    assert "secrets/dev.yaml: is not encrypted; run: sops encrypt" in refused.output
    project.run("git", "rm", "-q", "--cached", "secrets/dev.yaml")
    accepted = project.run(*commit)
    assert accepted.code == 0, accepted.output


@pytest.mark.parametrize(
    ("days", "verdict"), [(-1, Verdict.MISSING), (5, Verdict.WARNING), (40, Verdict.OK)]
)
def test_certificate(
    lab: Project, monkeypatch: pytest.MonkeyPatch, days: int, verdict: Verdict
) -> None:

    monkeypatch.chdir(lab.root)
    environment = inventory.load("lab")
    assert list(doctor.certificate(environment)) == []
    lab.write("rendered_configs/lab/talosconfig", "")
    monkeypatch.setattr(talosctl, "valid_until", lambda _: date.today() + timedelta(days))
    [check] = doctor.certificate(environment)
    assert check.verdict is verdict
    assert ("rm rendered_configs/lab/state/talosconfig" in check.mend) == (days < 40)


def test_tool_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> str:
        raise ToolError("sops: not found")

    monkeypatch.setattr("scripts.tools.require", missing)
    first, *others = doctor.programs([])
    assert first.verdict is Verdict.OK
    assert {check.verdict for check in others} == {Verdict.MISSING}
    assert others[0].mend == "Run: make setup"


def test_lab_that_is_not_built(lab: Project, monkeypatch: pytest.MonkeyPatch, network: str) -> None:

    path = "patches/envs/lab/cluster.env"
    lab.write(path, lab.read(path).replace("SIMULATED=true", f"LAB=true\nNETWORK={network}.0/24"))
    monkeypatch.chdir(lab.root)
    monkeypatch.setattr("scripts.lab.GUEST", lab.root / "none")
    checks = list(doctor.real_nodes(inventory.load("lab")))
    assert checks[-1].verdict is Verdict.MISSING
    assert checks[-1].mend == "make setup WITH=lab"


@pytest.fixture
def machines(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An environment of virtual machines here, on a machine without KVM whose libvirt answers."""
    project.environment("dev", "LIBVIRT_URI=qemu:///system\nNETWORK=10.9.0.0/24\n")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.node("dev", "workers", "worker_1", "10.9.0.21")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(vms, "connection", lambda _: None)
    monkeypatch.setattr(doctor, "KVM", project.root / "kvm")
    return project


def test_machines_that_want_kvm_where_there_is_none(machines: Project) -> None:
    machines.node("dev", "workers", "worker_2", "10.9.0.22", "VM_ACCELERATOR=tcg\n")
    libvirt, check = doctor.virtual_machines(inventory.load("dev"))
    assert libvirt.verdict is Verdict.OK
    assert check.verdict is Verdict.MISSING
    kvm = machines.root / "kvm"
    assert check.what == f"dev: there is no {kvm}, but cp_1, worker_1 want KVM"
    enable, emulate = check.mend.splitlines()
    assert "switch virtualization on in the firmware" in enable
    assert "VM_ACCELERATOR=tcg into patches/envs/dev/cluster.env" in emulate
    kvm.touch()
    assert doctor.ok(f"{kvm} can be used") in doctor.virtual_machines(inventory.load("dev"))


def test_emulated_machines_need_no_kvm(machines: Project) -> None:
    path = "patches/envs/dev/cluster.env"
    machines.write(path, machines.read(path) + "VM_ACCELERATOR=tcg\n")
    checks = list(doctor.virtual_machines(inventory.load("dev")))
    assert checks == [doctor.ok("dev: libvirt answers at qemu:///system")]


def test_little_space(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9})())
    check = doctor.disk_space(Path())
    assert (check.verdict, check.what) == (
        Verdict.WARNING,
        "only 0.9 GiB of disk space are free here",
    )
