"""What is missing on this machine, and what fixes it."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from talosmake.base import talosctls
from talosmake.base.errors import ToolError
from talosmake.inventory import environments
from talosmake.machines import session
from talosmake.render import credentials
from talosmake.report import doctor
from talosmake.report.check import Verdict, ok
from talosmake.report.hook import repository
from talosmake.secrets import bundles
from tests.aged import SPOILED
from tests.project import BIN, REPOSITORY, Project

UP = ("-j4", "--config", "env=lab")


def examine(lab: Project, code: int) -> str:
    run = lab.snakemake("doctor", "-q", "all", "--config", "env=lab")
    assert run.code == code, run.output
    assert "Traceback" not in run.output
    return run.output


def test_before_and_after_a_run(lab: Project, network: str) -> None:
    shown = examine(lab, 0)
    assert f"ok       talosctl fits {talosctls.default()}: " in shown
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


def test_machine_is_looked_at_without_an_environment(dev: Project) -> None:
    run = dev.snakemake("doctor", "-q", "all")
    assert f"talosctl fits {talosctls.default()}: " in run.output
    assert "GiB of disk space are free here" in run.output
    assert "dev" not in re.findall(r"^(?:ok|warning|missing) +(\w+)", run.output, re.MULTILINE)
    assert run.code == 0, run.output
    # A mistake in an environment is none of the machine's, and nothing else works without one.
    dev.write("patches/envs/dev/cluster.env", "CLUSTER_NAME=\n")
    assert dev.snakemake("doctor", "-q", "all").code == 0
    assert "no environment given" in dev.fails("validate")


def test_key_that_does_not_fit(dev: Project) -> None:
    assert "ok       dev: secrets/dev.yaml can be decrypted" in _of(dev)
    dev.env["SOPS_AGE_KEY_FILE"] = str(dev.root / "none")
    assert "missing  secrets/dev.yaml: " in _of(dev)


def _of(dev: Project) -> str:
    return dev.snakemake("doctor", "-q", "all", "--config", "env=dev").output


def test_git(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    subprocess.run(["git", "init", "-q", "."], check=True)
    assert _hook() == ("no pre-commit hook looks for unencrypted secrets", False)
    # Of an older version, and of one that had no directory to ignore.
    for name in ("rendered_configs", "logs", ".snakemake"):
        project.write(f"{name}/x", "")
    project.run("git", "add", "rendered_configs")
    found = {check.what: check.verdict for check in repository()}
    assert found == {
        "Git does not ignore rendered_configs/, which the workflow writes": Verdict.MISSING,
        "Git has files of rendered_configs/, which the workflow writes": Verdict.MISSING,
        "Git does not ignore logs/, which the workflow writes": Verdict.WARNING,
        "Git does not ignore .snakemake/, which the workflow writes": Verdict.WARNING,
        "no pre-commit hook looks for unencrypted secrets": Verdict.WARNING,
    }
    *fixes, _ = [check.fix.partition(";")[0] for check in repository()]
    assert project.run("sh", "-ec", "\n".join(fixes)).code == 0
    assert len(list(repository())) == 1
    hook = project.write(".git/hooks/pre-commit", "#!/bin/sh\n")
    assert _hook() == (".git/hooks/pre-commit does not look for unencrypted secrets", False)
    # What it is told to call does look.
    *_, check = repository()
    called = project.run("sh", "-ec", check.fix.removeprefix("let it run: "))
    assert called.code == 0, called.output
    hook.write_text("#!/bin/sh\nexec .venv/bin/talosmake check_secrets --staged\n")
    assert _hook() == ("Git does not run .git/hooks/pre-commit", False)
    hook.chmod(0o755)
    assert _hook()[1]
    hook.write_text("#!/bin/sh\nexec .venv/bin/python -m scripts.check_secrets\n")
    assert _hook() == (".git/hooks/pre-commit is the one of an older version", False)
    hook.write_text("#!/bin/sh\n.venv/bin/python -m talosmake.secrets.check && make lint\n")
    assert _hook()[1]
    # The program pre-commit, where it is told to call the check.
    hook.write_text("#!/usr/bin/env bash\n# File generated by pre-commit: https://pre-commit.com\n")
    assert not _hook()[1]
    project.write(".pre-commit-config.yaml", (REPOSITORY / ".pre-commit-config.yaml").read_text())
    assert _hook() == ("a pre-commit hook looks for unencrypted secrets", True)


def _hook() -> tuple[str, bool]:
    """What doctor says last of Git, and whether that is well."""
    *_, check = repository()
    assert check.fix or check.verdict is Verdict.OK
    return check.what, check.verdict is Verdict.OK


@pytest.mark.parametrize("below", ["", "kubernetes/my talos"])
def test_hook_of_a_repository_with_data_only(
    project: Project, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    data = project.root / "data" / below
    data.mkdir(parents=True)
    hook = (REPOSITORY / "scripts/talosmake/cli/templates/pre-commit.j2").read_text()
    talosmake = data / ".venv/bin/talosmake"
    talosmake.parent.mkdir(parents=True)
    command = (
        f"#!{BIN / 'python'}\nimport sys\nsys.path.insert(0, {str(REPOSITORY / 'scripts')!r})\n"
        "from talosmake.cli.main import main\nmain()\n"
    )
    for path, text in ((talosmake, command), (data / ".githooks/pre-commit", hook)):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (data / ".gitignore").write_text("/.venv/\n")
    subprocess.run(["git", "init", "-q", str(project.root / "data")], check=True)
    monkeypatch.chdir(data)
    [check] = repository()
    assert check.what == "no pre-commit hook looks for unencrypted secrets"
    subprocess.run(["sh", "-ec", check.fix], check=True)
    assert [check.verdict for check in repository()] == [Verdict.OK]

    commit = ("git", "-C", str(data), "-c", "user.name=x", "-c", "user.email=x@x", "commit")
    (data / "secrets").mkdir()
    (data / "patches/envs/dev").mkdir(parents=True)
    (data / "patches/envs/dev/cluster.env").touch()
    (data / "secrets/dev.yaml").write_text("a: {}\n")
    project.run("git", "-C", str(data), "add", ".")
    assert "secrets/dev.yaml: is not encrypted" in project.run(*commit, "-m", "x").output
    project.run("git", "-C", str(data), "rm", "-q", "--cached", "secrets/dev.yaml")
    accepted = project.run(*commit, "-m", "x")
    assert accepted.code == 0, accepted.output
    # Git's index is another file then.
    project.run("git", "-C", str(data), "add", "secrets")
    for arguments in (("-am", "x"), ("-m", "x", "secrets/dev.yaml")):
        assert "is not encrypted" in project.run(*commit, *arguments).output


def test_hook_that_is_told_works_after_set_up_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    for name in ("scripts", "share"):
        (project.root / name).symlink_to(REPOSITORY / name)
    (project.root / ".venv").symlink_to(BIN.parent)
    project.write(".gitignore", "/rendered_configs/\n/logs/\n/.snakemake/\n/.venv\n")
    subprocess.run(["git", "init", "-q", "."], check=True)
    [check] = repository()
    # Nothing that only the tests' packages bring is on PATH.
    bare = ["env", "PATH=/usr/bin:/bin"]
    assert project.run(*bare, "sh", "-c", check.fix).code == 0
    assert [check.verdict for check in repository()] == [Verdict.OK]

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
    ("what", "problem"),
    [
        ("half over", "it is past half of its life, which ends on "),
        ("expired", "it expired on "),
        ("both lost", "it is lost"),
        ("upper empty", "it is damaged, or was not made here"),
    ],
)
def test_certificate(
    dev: Project, monkeypatch: pytest.MonkeyPatch, what: str, problem: str
) -> None:
    """What fixes it is tried."""
    monkeypatch.chdir(dev.root)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", dev.env["SOPS_AGE_KEY_FILE"])
    environment = environments.load("dev")
    assert list(doctor.certificate(environment)) == []
    credentials.ensure(environment)
    [check] = doctor.certificate(environment)
    assert check.verdict is Verdict.OK
    until = datetime.now(UTC) + timedelta(365)
    assert f"is valid until {until:%Y-%m-%d}" in check.what
    SPOILED[what](environment.paths.root, bundles.bundle_of(environment))
    [check] = doctor.certificate(environment)
    assert check.verdict is Verdict.WARNING
    assert check.what.startswith(f"rendered_configs/dev/talosconfig: {problem}")
    remedy = "snakemake validate --config env=dev"
    assert check.fix == f"rm -f rendered_configs/dev/talosconfig && {remedy}"
    environment.paths.talosconfig.unlink(missing_ok=True)
    dev.ok(*remedy.split()[1:])
    [check] = doctor.certificate(environment)
    assert check.verdict is Verdict.OK


def test_tool_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> str:
        raise ToolError("sops: not found")

    for module in ("tools", "talosctls"):
        monkeypatch.setattr(f"talosmake.base.{module}.require", missing)
    first, *others = doctor.programs([])
    assert first.verdict is Verdict.OK
    assert {check.verdict for check in others} == {Verdict.MISSING}
    assert others[0].fix == "Run: make setup"


def test_lab_that_is_not_built(lab: Project, monkeypatch: pytest.MonkeyPatch, network: str) -> None:

    path = "patches/envs/lab/cluster.env"
    lab.write(path, lab.read(path).replace("SIMULATED=true", f"LAB=true\nNETWORK={network}.0/24"))
    monkeypatch.chdir(lab.root)
    monkeypatch.setattr("talosmake.machines.lab.GUEST", lab.root / "none")
    checks = list(doctor.real_nodes(environments.load("lab")))
    assert checks[-1].verdict is Verdict.MISSING
    assert checks[-1].fix == "make setup WITH=lab"


@pytest.fixture
def machines(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An environment of virtual machines here, on a machine without KVM whose libvirt answers."""
    project.environment("dev", "LIBVIRT_URI=qemu:///system\nNETWORK=10.9.0.0/24\n")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.node("dev", "workers", "worker_1", "10.9.0.21")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(session, "connection", lambda _: None)
    monkeypatch.setattr(doctor, "KVM", project.root / "kvm")
    return project


def test_machines_that_want_kvm_where_there_is_none(machines: Project) -> None:
    machines.node("dev", "workers", "worker_2", "10.9.0.22", "VM_ACCELERATOR=tcg\n")
    libvirt, check = doctor.virtual_machines(environments.load("dev"))
    assert libvirt.verdict is Verdict.OK
    assert check.verdict is Verdict.MISSING
    kvm = machines.root / "kvm"
    assert check.what == f"dev: there is no {kvm}, but cp_1, worker_1 want KVM"
    enable, emulate = check.fix.splitlines()
    assert "switch virtualization on in the firmware" in enable
    assert "VM_ACCELERATOR=tcg into patches/envs/dev/cluster.env" in emulate
    kvm.touch()
    assert ok(f"{kvm} can be used") in doctor.virtual_machines(environments.load("dev"))


def test_emulated_machines_need_no_kvm(machines: Project) -> None:
    path = "patches/envs/dev/cluster.env"
    machines.write(path, machines.read(path) + "VM_ACCELERATOR=tcg\n")
    checks = list(doctor.virtual_machines(environments.load("dev")))
    assert checks == [ok("dev: libvirt answers at qemu:///system")]


def test_little_space(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9})())
    check = doctor.disk_space(Path())
    assert (check.verdict, check.what) == (
        Verdict.WARNING,
        "only 0.9 GiB of disk space are free here",
    )
