"""A Python environment of another checkout is refused: its code would run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from talosmake.workflow import origin
from tests.project import BIN, OWN_OUTPUT, REPOSITORY, Project
from tests.set_up import setup

PARTS = ("config", "plugins", "profiles", "requirements", "rules", "scripts", "tools")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another checkout, without a Python environment."""
    root = tmp_path / "other"
    for name in PARTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, root / name, ignore=ignored)
    shutil.copy(REPOSITORY / "Snakefile", root)
    return root


def _refused(project: Project, program: str | Path, other: Path, *arguments: str) -> None:
    run = project.run(program, "-s", other / "Snakefile", *arguments, "--config", "env=dev", "-n")
    assert run.code == 1, run.output
    assert f"is not the Python environment of {other}: the code of {REPOSITORY} would" in run.output
    assert f"-> Run 'make setup' in {other}, and use {other}/.venv/bin/snakemake;" in run.output
    assert f"snakemake -s {REPOSITORY}/Snakefile" in run.output
    assert "Traceback" not in run.output


def test_environment_of_another_checkout_is_refused(dev: Project, other: Path) -> None:
    _refused(dev, BIN / "snakemake", other)
    _refused(dev, BIN / "snakemake", other, OWN_OUTPUT)
    (other / ".venv").symlink_to(BIN.parent)
    _refused(dev, other / ".venv/bin/snakemake", other)
    # What the message names.
    assert dev.run(*dev.command("-n", "--config", "env=dev")).code == 0


def test_broken_code_of_the_other_one_is_not_looked_at(dev: Project, other: Path) -> None:
    """Here it is this checkout's that is older than the rules."""
    with (other / "rules/common.smk").open("a") as file:
        file.write("\nfrom talosmake.base import what_is_not_there\n")
    _refused(dev, BIN / "snakemake", other)


def test_environment_for_other_packages_is_refused(dev: Project, other: Path) -> None:
    lock = other / "requirements/main.txt"
    lock.write_text(f"{lock.read_text()}\nmore==1.0\n")
    dev.env["PYTHONPATH"] = str(other / "plugins")
    dev.program = other
    run = dev.run(*dev.command("-n", "--config", "env=dev"))
    assert run.code == 1
    assert f"was set up with other Python packages than {lock} names" in run.output
    assert f"-> Run 'make setup' in {other}" in run.output
    assert "Traceback" not in run.output


def test_what_set_up_did_not_make_is_left_alone(tmp_path: Path) -> None:
    lock = tmp_path / "requirements/main.txt"
    lock.parent.mkdir()
    lock.write_text("a==1\n")
    assert origin.complaint(tmp_path, tmp_path) == ""
    stamp = tmp_path / "talosmake-setup.json"
    for text in ("", "[]", "{}", '{"files": []}'):
        stamp.write_text(text)
        assert origin.complaint(tmp_path, tmp_path) == ""
    stamp.write_text(json.dumps({"files": {"main.txt": setup.digest([lock.read_bytes()])}}))
    assert origin.complaint(tmp_path, tmp_path) == ""
    lock.write_text("a==2\n")
    assert origin.complaint(tmp_path, tmp_path).startswith(f"{tmp_path} was set up with other")


def test_set_up_changes_no_environment_that_a_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is what the message advises."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    (theirs / "talosmake-setup.json").write_text("{}")
    ours.symlink_to(theirs)
    python = next(part for part in setup.parts if part.__name__.endswith(".python"))
    monkeypatch.setattr(python, "VENV", ours)
    monkeypatch.setattr(python, "STAMP", ours / "talosmake-setup.json")

    def made(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(python, "ensure_uv", lambda: "uv")
    monkeypatch.setattr(python, "Step", made)
    with pytest.raises(TimeoutError):
        python._make_environment("python3", {}, setup.Environment())
    assert (theirs / "talosmake-setup.json").exists()
    assert not ours.is_symlink()
