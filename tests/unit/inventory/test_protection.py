"""PROTECTED counts as it was committed; what is not known protects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from talosmake.base import git
from talosmake.base.errors import ConfigError, MachineError, ToolError
from talosmake.inventory import environments, protection, settings
from talosmake.machines import destroy, session
from talosmake.machines.changes import Plan
from talosmake.rollout import reset
from tests.project import Project

ENV = "patches/envs/dev/cluster.env"
SAID = f"in the last commit {ENV} says PROTECTED=true"


def commit(repository: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", *arguments], cwd=repository, check=True)


def said() -> str:
    config = settings.read({})
    return protection.of(settings.environment(config, "dev"))


def locked(small: Project, value: str = "true") -> str:
    """The text without the fact; with it, it is committed."""
    plain = small.read(ENV)
    small.write(ENV, f"{plain}PROTECTED={value}\n")
    return plain


def test_without_a_repository_the_file_counts(small: Project) -> None:
    assert said() == ""
    plain = locked(small)
    assert said() == f"{ENV} says PROTECTED=true"
    small.write(ENV, plain)
    subprocess.run(["git", "init", "-q"], cwd=small.root, check=True)
    assert said() == ""


@pytest.mark.parametrize("above", [False, True])
def test_uncommitted_change_unlocks_nothing(small: Project, above: bool) -> None:
    plain = locked(small)
    commit(small.root.parent if above else small.root)
    for edited in (plain, f"{plain}PROTECTED=false\n"):
        small.write(ENV, edited)
        assert said() == SAID
    subprocess.run(["git", "add", "-A"], check=True)
    assert said() == SAID
    # Under another name in the commit, and a link on disk.
    (small.root / ENV).unlink()
    small.write("other.env", plain)
    (small.root / ENV).symlink_to(small.root / "other.env")
    assert said() == SAID
    commit(small.root.parent if above else small.root)
    assert said() == ""


def test_link_in_the_commit_is_followed(small: Project) -> None:
    plain = locked(small)
    (small.root / ENV).rename(small.root / "shared.env")
    (small.root / ENV).symlink_to("../../../shared.env")
    commit(small.root)
    small.write("shared.env", plain)
    assert said() == SAID


def test_default_that_is_committed_counts(small: Project) -> None:
    small.write("config/config.yaml", "defaults:\n  PROTECTED: true\n")
    commit(small.root)
    small.write("config/config.yaml", "defaults: {}\n")
    assert said() == SAID
    # The environment's own file wins, in the commit as on disk.
    locked(small, "false")
    assert said() == SAID
    commit(small.root)
    assert said() == ""
    small.write("config/config.yaml", "defaults: [\n")
    commit(small.root)
    small.write("config/config.yaml", "defaults: {}\n")
    assert said() == ""


def test_committed_file_that_cannot_be_read_is_an_error(small: Project) -> None:
    small.write("config/config.yaml", "defaults: [\n")
    commit(small.root)
    small.write("config/config.yaml", "defaults: {}\n")
    with pytest.raises(ConfigError, match=r"config/config\.yaml: is no YAML in the last commit"):
        said()


def test_repository_that_git_does_not_read_unlocks_nothing(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = locked(small)
    commit(small.root)
    small.write(ENV, plain)
    (small.root / ".git/HEAD").write_text("nonsense\n")
    with pytest.raises(ToolError, match=r"cluster\.env: Git does not say what the last commit"):
        said()

    def missing(*_: object, **__: object) -> None:
        raise ToolError("git is not installed")

    monkeypatch.setattr(git, "run", missing)
    with pytest.raises(ToolError, match="holds: git is not installed"):
        said()
    small.remove(".git")
    assert said() == ""


def test_all_three_are_refused(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset, vms_destroy, and the loss of disks."""
    plain = locked(small)
    commit(small.root)
    small.write(ENV, plain)
    environment = environments.load("dev")
    with pytest.raises(ConfigError, match=f"{SAID}: no node of dev is reset"):
        reset._check_unprotected(environment)
    with pytest.raises(MachineError) as error:
        destroy._check_destroy(environment, "dev", {}, allowed=True)
    assert error.value.message == f"dev: is protected ({SAID}); nothing is destroyed"

    class Libvirt:
        def current(self, *_: object) -> None:
            return None

    seen: list[bool] = []

    def plan(*_: object, protected: bool) -> Plan:
        seen.append(protected)
        return Plan((), {}, (), ())

    monkeypatch.setattr(session, "connection", lambda _: Libvirt())
    monkeypatch.setattr(session, "wanted_machines", lambda _: _Vms())
    monkeypatch.setattr(session, "replace", lambda one, **_: one)
    monkeypatch.setattr("talosmake.machines.images.identified", lambda *_: None)
    monkeypatch.setattr(session, "plan", plan)
    session.read(environment, "")
    assert seen == [True]


class _Vms:
    boot = None
    uri = "test:///default"
