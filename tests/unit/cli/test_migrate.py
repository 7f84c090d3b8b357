"""A repository that another talosmake wrote, brought to what this one writes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from talosmake.base import talosctls
from talosmake.base.errors import ConfigError
from talosmake.cli import main, migrate, repository
from talosmake.inventory import repository_format, settings
from talosmake.inventory.repository_format import FILE, FORMAT
from tests.project import Project

# What init wrote as Snakefile before it named a default target.
FIRST = """\
# The workflow is the installed talosmake's (requirements.txt); this repository holds data only.
from talosmake.base.program import ROOT


include: str(ROOT / "Snakefile")
"""
TARGET = 'workflow.default_target = "all"'


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    list(repository.write(Path(), repository.ask({}, None)))
    return tmp_path


@pytest.fixture
def first(made: Path) -> Path:
    """As the first init left it: of format 1."""
    (made / "Snakefile").write_text(FIRST)
    (made / FILE).unlink()
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(main.talosmake, ["migrate", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_new_repository_has_nothing_to_migrate(made: Path) -> None:
    before = contents(made)
    assert ran() == ran("--apply") == f"nothing to migrate: the repository has format {FORMAT}\n"
    assert contents(made) == before


def test_it_is_shown_first_and_changed_when_asked(first: Path) -> None:
    before = contents(first)
    shown = ran()
    assert f"+{TARGET}" in shown.splitlines()
    assert shown.endswith(
        f"Nothing was changed yet. From format 1 to {FORMAT}:\n  talosmake migrate --apply\n"
    )
    assert contents(first) == before
    assert "Snakefile: written" in ran("--apply")
    assert (first / "Snakefile").read_text() == repository.owned()["Snakefile"]
    changed = {path for path, text in contents(first).items() if before.get(path) != text}
    assert changed == {str(first / "Snakefile"), str(first / FILE)}
    assert "nothing to migrate" in ran("--apply")


def test_what_a_person_changed_is_left_alone_and_told(first: Path) -> None:
    own = FIRST + '\ninclude: "mine.smk"\n'
    (first / "Snakefile").write_text(own)
    (first / ".gitignore").write_text((first / ".gitignore").read_text() + "/mine/\n")
    (first / "profiles/default/profile.yaml").unlink()
    for arguments in ((), ("--apply",)):
        shown = ran(*arguments)
        assert "Snakefile: changed by you, and left alone; talosmake" in shown
        assert f"  {TARGET}" in shown.splitlines()
        # It lacks nothing of what talosmake writes.
        assert ".gitignore" not in shown
    assert (first / "Snakefile").read_text() == own
    assert "/mine/" in (first / ".gitignore").read_text()
    assert not (first / "profiles/default/profile.yaml").exists()
    # Told as long as it is so, and done once the lines are there.
    assert TARGET in ran("--apply")
    (first / "Snakefile").write_text(f"{own}{TARGET}\n")
    assert ran() == f"nothing to migrate: the repository has format {FORMAT}\n"


def test_link_is_a_person_s(first: Path) -> None:
    (first / "shared").write_text(FIRST)
    (first / "Snakefile").unlink()
    (first / "Snakefile").symlink_to("shared")
    assert "changed by you, and left alone" in ran("--apply")
    assert (first / "Snakefile").is_symlink()
    assert (first / "shared").read_text() == FIRST


def test_files_of_another_version_follow_while_nobody_changed_them(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {**repository.owned(), "mise.toml": '[tools]\ntalosctl = "9.9.9"\n', "new": "x\n"}
    monkeypatch.setattr(repository, "owned", lambda _: newer)
    hook = made / ".githooks/pre-commit"
    newer[".githooks/pre-commit"] = hook.read_text() + "# more\n"
    shown = ran()
    assert '+talosctl = "9.9.9"' in shown.splitlines()
    assert "+x" in shown.splitlines()
    ran("--apply")
    assert {path: (made / path).read_text() for path in newer} == newer
    assert hook.stat().st_mode & 0o777 == 0o755
    # And again from there, by what was recorded.
    newer["mise.toml"] = "[tools]\n"
    (made / "new").write_text("mine\n")
    assert "new: changed by you" in ran("--apply")
    assert (made / "mise.toml").read_text() == "[tools]\n"


def test_mise_has_the_talosctl_that_each_environment_needs(made: Path) -> None:
    assert mise(made) == talosctls.default()
    prod = made / "patches/envs/prod/cluster.env"
    edge = made / "patches/envs/edge/cluster.env"
    edge.parent.mkdir()
    edge.write_text("TALOS_VERSION=1.14.0\n")
    newest = talosctls.version_for("v1.14.0")
    assert f'+talosctl = ["{talosctls.default()}", "{newest}"]' in ran().splitlines()
    ran("--apply")
    assert mise(made) == [talosctls.default(), newest]
    assert "nothing to migrate" in ran()
    # What no environment needs any more goes; another patch version than the pinned one comes.
    prod.write_text("TALOS_VERSION=v1.12.1\nTALOSCTL_VERSION=v1.12.3\n")
    ran("--apply")
    assert mise(made) == [newest, "1.12.3"]
    # What cannot be known is left out, and defaults count.
    edge.write_text("TALOS_VERSION=latest\n")
    prod.write_text("TALOS_VERSION=v1.14.1\nTALOSCTL_VERSION='\"]'\n")
    (made / "config/config.yaml").write_text("defaults:\n  TALOS_VERSION: v1.14.1\n")
    ran("--apply")
    assert mise(made) == newest
    # A person's own file is told of, as any other.
    (made / "mise.toml").write_text("[tools]\n")
    assert "mise.toml: changed by you, and left alone" in ran("--apply")


def mise(made: Path) -> object:
    return tomllib.loads((made / "mise.toml").read_text())["tools"]["talosctl"]


def test_interrupted_the_same_command_finishes(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(repository_format, "text", killed)
    with pytest.raises(KeyboardInterrupt):
        list(migrate.migrate(apply=True))
    assert TARGET in (first / "Snakefile").read_text()
    assert not (first / FILE).exists()
    monkeypatch.undo()
    monkeypatch.chdir(first)
    assert f"{FILE}: the repository has format {FORMAT}" in ran("--apply")


def test_newer_format_is_refused_by_all_commands(here: Project) -> None:
    here.write(str(FILE), json.dumps({"format": FORMAT + 1, "written": {}}))
    here.write("requirements.txt", "talosmake==99.0.0\n")
    for read in (lambda: settings.read({"env": "dev"}), lambda: list(migrate.migrate(apply=True))):
        with pytest.raises(ConfigError) as error:
            read()
        assert error.value.message.startswith(
            f".talosmake.json: this repository has format {FORMAT + 1}, and talosmake "
        )
        assert error.value.message.endswith(f"knows no later one than {FORMAT}")
        assert "pip install -r requirements.txt" in error.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "2", "written": {}}', "\x00"])
def test_record_that_is_none_is_refused(here: Project, content: str) -> None:
    here.write(str(FILE), content)
    with pytest.raises(ConfigError, match=r"^\.talosmake\.json: cannot be read: ") as error:
        settings.read({})
    assert "git checkout -- .talosmake.json" in error.value.hint


def test_a_clone_is_not_migrated(here: Project) -> None:
    result = CliRunner().invoke(main.talosmake, ["migrate"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: requirements.txt: cannot be read")
