"""The commit hook and the pipeline's look at commits: what counts is what Git holds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.project import BIN, REPOSITORY, Project, encrypted

PASSWORD = "hunter2" + "hunter2"
PATCH = f"machine:\n  registries:\n    config:\n      r:\n        auth: {{password: {PASSWORD}}}\n"


@dataclass
class Repository:
    """A repository with a project in a directory of it, and the hook that doctor installs.

    :ivar top: the work tree.
    :ivar project: the project's directory.
    """

    top: Path
    project: Path

    def git(self, *arguments: str, code: int | None = 0, at: Path | None = None) -> str:
        """Run Git, by default in the project; -1 for any other exit code than 0."""
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
            cwd=at or self.project,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert (done.returncode == 0) == (code == 0), output
        return output

    def commit(self, *arguments: str, at: Path | None = None) -> None:
        self.git("commit", "-qm", "x", *arguments, at=at)

    def refused(self, *arguments: str, at: Path | None = None) -> str:
        """What a commit says that the hook refuses; no secret, and no traceback."""
        said = self.git("commit", "-qm", "x", *arguments, code=1, at=at)
        assert "Traceback" not in said
        assert PASSWORD not in said
        return said

    def write(self, name: str, text: str) -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def check(self, *arguments: str, code: int = 0, at: Path | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "talosmake.secrets.check", *arguments],
            cwd=at or self.project,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout
        assert PASSWORD not in done.stdout
        return done.stdout


def _project(directory: Path) -> None:
    """What the hook needs of a project that brings the program."""
    directory.mkdir(parents=True)
    for name in ("scripts", "share"):
        subprocess.run(["cp", "-r", REPOSITORY / name, directory], check=True)
    (directory / ".venv").symlink_to(BIN.parent)
    (directory / ".gitignore").write_text("/.venv\n__pycache__/\n")


@pytest.fixture(params=["", "kubernetes/my talos"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    """At the top of its repository, and below."""
    top = tmp_path / "repository"
    made = Repository(top, top / request.param)
    _project(made.project)
    made.git("init", "-q", "-b", "main", str(top))
    _install(made)
    made.git("add", "-A")
    made.commit()
    return made


def _install(made: Repository) -> None:
    command = 'install -D share/hooks/pre-commit "$(git rev-parse --git-path hooks)/pre-commit"'
    subprocess.run(["sh", "-c", command], cwd=made.project, check=True)


def test_file_that_was_encrypted_only_on_disk(repository: Repository, tmp_path: Path) -> None:
    made, plain = repository, "cluster:\n  secret: " + PASSWORD + "\n"
    bundle = made.write("secrets/prod.yaml", plain)
    made.git("add", "secrets")
    said = made.refused()
    assert "secrets/prod.yaml: is not encrypted; run: sops encrypt --in-place" in said
    _encrypt(bundle, tmp_path)
    said = made.refused()
    assert "secrets/prod.yaml: is not encrypted; run: git add " in said
    assert "secrets/prod.yaml:2: holds a secret (cluster.secret)\n" in said
    # The remedy, from where Git ran the hook.
    command = said.partition("run: git add ")[2].partition(" (it is")[0]
    subprocess.run(["sh", "-c", f"git add {command}"], cwd=made.top, check=True)
    made.commit()
    # Decrypted on disk, and not staged: what is committed is encrypted.
    bundle.write_text(plain)
    made.write("README.md", "x")
    made.git("add", "README.md")
    made.commit()
    assert "secrets/prod.yaml: is not encrypted" in made.refused("-a")
    assert "secrets/prod.yaml: is not encrypted" in made.refused("secrets/prod.yaml")


def _encrypt(path: Path, tmp_path: Path) -> None:
    key = subprocess.run([BIN / "age-keygen"], capture_output=True, check=True, text=True)
    recipient = key.stdout.partition("public key: ")[2].split()[0]
    path.write_text(encrypted(path.read_text(), recipient, path.name))


def test_remedy_for_a_plain_patch(repository: Repository, tmp_path: Path) -> None:
    made = repository
    made.write("patches/envs/dev/cluster.env", "CLUSTER_NAME=a\n")
    made.write("patches/envs/dev/wg.yaml", PATCH)
    made.git("add", "patches")
    said = made.refused()
    assert (
        "patches/envs/dev/wg.yaml:5: holds a secret (machine.registries.config.r.auth.password)"
        in (said)
    )
    key = subprocess.run([BIN / "age-keygen"], capture_output=True, check=True, text=True).stdout
    recipient = key.partition("public key: ")[2].split()[0]
    made.write(".sops.yaml", f"creation_rules:\n  - age: {recipient}\n")
    [command] = [line for line in said.splitlines() if "git mv" in line]
    command = command.replace("->", "").replace("X", "patches/envs/dev/wg").strip()
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", command], cwd=made.project, env=env, check=True)
    made.git("add", ".sops.yaml")
    made.commit()
    assert "wg.sops.yaml" in made.git("ls-files")


def test_names_of_all_kinds(repository: Repository) -> None:
    made = repository
    weird = os.fsdecode(b"a\nb\xff 'c.yaml")
    made.write(weird, PATCH)
    (made.project / "link.yaml").symlink_to("/nowhere")
    (made.project / "secrets").mkdir()
    (made.project / "secrets/prod.yaml").symlink_to("../elsewhere.yaml")
    made.git("add", "-A")
    said = made.refused()
    assert r"a\nb\udcff 'c.yaml" in said
    assert said.count("holds a secret") == 1
    assert "prod.yaml" not in said
    made.git("rm", "-qf", "--", weird)
    made.commit()


def test_renamed_file_and_submodule(repository: Repository, tmp_path: Path) -> None:
    made = repository
    made.write("notes.md", PATCH)
    made.git("add", "-A")
    made.commit()
    made.git("mv", "notes.md", "notes.yaml")
    assert "notes.yaml:5: holds a secret" in made.refused()
    assert "notes.yaml:5: holds a secret" in made.check("--staged", code=1)
    made.git("mv", "notes.yaml", "notes.md")
    assert made.check("--staged") == ""
    other = Repository(tmp_path / "other", tmp_path / "other")
    other.project.mkdir()
    other.git("init", "-q")
    other.write("a.yaml", PATCH)
    other.git("add", "-A")
    other.commit()
    allow = ("-c", "protocol.file.allow=always")
    made.git(*allow, "submodule", "--quiet", "add", str(other.top), "below")
    made.commit()
    assert "below" in made.git("ls-files")


def test_first_commit(repository: Repository) -> None:
    made = repository
    made.git("checkout", "-q", "--orphan", "fresh")
    made.write("a.yaml", PATCH)
    made.git("add", "-A")
    for said in (made.refused(), made.check("--staged", code=1)):
        assert "a.yaml:5: holds a secret" in said
    made.git("rm", "-qf", "a.yaml")
    made.commit()


def test_second_work_tree_is_set_up_before_it_commits(
    repository: Repository, tmp_path: Path
) -> None:
    made = repository
    made.git("worktree", "add", "-q", str(tmp_path / "second"))
    project = tmp_path / "second" / made.project.relative_to(made.top)
    second = Repository(tmp_path / "second", project)
    second.write("a.yaml", PATCH)
    second.git("add", "-A")
    said = second.refused()
    assert "/.venv/bin/python, so nothing looks for secrets in plain text\n" in said
    assert "pre-commit: run 'make setup' in " in said
    second.git("config", "talosmake.program", str(made.project))
    assert "a.yaml:5: holds a secret" in second.refused()
    second.git("rm", "-qf", "a.yaml")
    second.write("b", "b")
    second.git("add", "-A")
    second.commit()


def test_of_a_larger_repository_only_its_projects_count(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    made = Repository(top, top / "infra/one")
    _project(made.project)
    made.git("init", "-q", str(top))
    _install(made)
    # The second one has data alone, and a directory that is named like the program's.
    for name in ("infra/two/patches/envs/dev/cluster.env", "scripts/__init__.py"):
        (top / name).parent.mkdir(parents=True)
        (top / name).write_text("")
    (top / "apps").mkdir()
    (top / "apps/secret.yaml").write_text(PATCH)
    made.git("add", "-A", at=top)
    made.commit(at=top)
    (top / "infra/two/wg.yaml").write_text(PATCH)
    made.git("add", "-A", at=top)
    said = made.refused(at=top / "apps")
    assert "infra/two/wg.yaml:5: holds a secret" in said
    assert "apps/" not in said
    # In a project's directory, that one.
    assert made.check() == ""
    assert "wg.yaml:5: holds a secret" in made.check(code=1, at=top / "infra/two")


def test_data_used_from_elsewhere(project: Project) -> None:
    """The hook as doctor tells to install it, where the program is not in the repository."""
    made = Repository(project.root, project.root)
    made.git("init", "-q")
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    run = project.snakemake("doctor", "-q", "all", "--config", "env=dev")
    _, _, told = run.output.partition("no pre-commit hook looks for unencrypted secrets\n")
    command = told.splitlines()[0].partition("-> ")[2]
    assert "talosmake.program" in command
    subprocess.run(["sh", "-ec", command], cwd=project.root, check=True)
    project.write("patches/envs/dev/common.sops.yaml", PATCH)
    made.git("add", "-A")
    assert "common.sops.yaml: is not encrypted" in made.refused()
    made.git("rm", "-qf", "patches/envs/dev/common.sops.yaml")
    made.commit()
    run = project.snakemake("doctor", "-q", "all", "--config", "env=dev")
    assert "pre-commit hook looks for unencrypted secrets" in run.output
    assert "no pre-commit hook" not in run.output


def test_each_commit_of_a_range_is_looked_at(repository: Repository, tmp_path: Path) -> None:
    made = repository
    made.git("checkout", "-qb", "topic")
    made.write("a.yaml", PATCH)
    made.git("add", "-A")
    made.git("commit", "-qm", "plain", "--no-verify")
    made.git("rm", "-q", "a.yaml")
    made.commit()
    assert made.check() == ""
    said = made.check("--commits", "main..HEAD", code=1)
    plain = made.git("rev-parse", "HEAD^").strip()
    assert "check_secrets: 2 commits in main..HEAD\n" in said
    assert f"commit {plain[:12]}: a.yaml:5: holds a secret" in said
    assert "make new secrets" in said
    # What a merge brings beside what its parents have.
    made.git("checkout", "-q", "main")
    made.git("merge", "-q", "--no-ff", "--no-commit", "topic")
    made.write("secrets/b.yaml", "x: y\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "merge", "--no-verify")
    said = made.check("--commits", "main^1..main", code=1)
    assert "a.yaml:5: holds a secret" in said
    assert "secrets/b.yaml: is not encrypted\n" in said
    assert made.check("--commits", "HEAD..HEAD") == "check_secrets: 0 commits in HEAD..HEAD\n"


@pytest.mark.parametrize("revisions", ["nowhere..HEAD", "--all", "HEAD..", ""])
def test_range_that_git_does_not_know(repository: Repository, revisions: str) -> None:
    if revisions == "HEAD..":
        assert "0 commits" in repository.check(f"--commits={revisions}")
        return
    said = repository.check(f"--commits={revisions}", code=1)
    assert f"Error: {revisions}: git rev-list: " in said
    assert "  -> Name a range of commits that are here" in said


def test_shallow_clone_is_refused(repository: Repository, tmp_path: Path) -> None:
    made = repository
    made.write("b", "b")
    made.git("add", "-A")
    made.commit()
    clone = tmp_path / "clone"
    made.git("clone", "-q", "--depth=1", f"file://{made.top}", str(clone))
    said = made.check("--commits", "HEAD", code=1, at=clone)
    assert "Error: HEAD: this clone is shallow, so commits may be missing" in said
    subprocess.run(["git", "fetch", "-q", "--unshallow"], cwd=clone, check=True)
    assert "2 commits in HEAD" in made.check("--commits", "HEAD", at=clone)


def test_files_on_disk_and_no_repository(tmp_path: Path) -> None:
    made = Repository(tmp_path, tmp_path)
    made.write("a.yaml", PATCH)
    assert "a.yaml:5: holds a secret" in made.check("a.yaml", code=1)
    assert "Error: b.yaml: cannot be read: No such file" in made.check("b.yaml", code=1)
    assert "Error: git " in made.check(code=1)
