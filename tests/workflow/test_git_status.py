"""A person's own repository, with the program elsewhere: nothing secret gets in by ``git add``."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.project import Project


def taken(root: Path, *, below: str = "") -> set[str]:
    """What ``git add`` would take."""
    command = ["git", "status", "--porcelain", "-z", "--untracked-files=all"]
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    return {line[3:].removeprefix(below) for line in done.stdout.split("\0") if line}


def commit(project: Project) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("add", "-A"), (*who, "commit", "-qm", "x")):
        done = project.run("git", *arguments)
        assert done.code == 0, done.output


def test_of_what_is_made_only_what_is_public_shows(lab: Project, network: str) -> None:
    """With simulated nodes, whose secrets are made by themselves, below a larger repository."""
    subprocess.run(["git", "init", "-q", lab.root.parent], check=True)
    commit(lab)
    lab.ok("-j4", "--config", "env=lab")
    for target in ("explain", "report", "artifact_check", "dag"):
        lab.ok(target, "-j4", "--config", "env=lab")
    assert (lab.root / "rendered_configs/lab/kubeconfig").exists()
    assert taken(lab.root.parent, below="project/") == {"secrets/.gitignore"}
    key = lab.root / "secrets/lab.agekey"
    assert key.exists()
    # Made again after it was lost, with other names beside it.
    lab.remove("secrets")
    lab.remove("rendered_configs")
    lab.write("secrets/.gitignore", "mine")
    lab.ok("simulator_stop", "--config", "env=lab")
    lab.ok("validate", "-j4", "--config", "env=lab")
    assert taken(lab.root.parent, below="project/") == {"secrets/.gitignore"}
    assert lab.read("secrets/.gitignore").startswith("mine\n/lab.agekey\n")


def test_age_key_in_the_project(project: Project) -> None:
    """No repository yet; ``git init`` and ``git add`` come later."""
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.env["SOPS_AGE_KEY_FILE"] = "age.key"
    project.ok("secrets", "--config", "env=dev")
    project.ok("validate", "-j4", "--config", "env=dev")
    assert "AGE-SECRET-KEY" in project.read("age.key")
    subprocess.run(["git", "init", "-q", project.root], check=True)
    shown = {name for name in taken(project.root) if not name.startswith("patches/")}
    assert shown == {".sops.yaml", "secrets/dev.yaml", ".gitignore"}
    assert project.read(".gitignore") == "/age.key\n"
    # Once a person ignores it in a way of their own, that will do.
    project.write(".gitignore", "*.key\n")
    commit(project)
    for path in ("age.key", ".sops.yaml", "secrets", "rendered_configs"):
        project.remove(path)
    project.ok("secrets", "--config", "env=dev")
    assert project.read(".gitignore") == "*.key\n"
    assert taken(project.root) == {".sops.yaml", "secrets/dev.yaml"}
