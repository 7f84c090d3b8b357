"""Mistakes in a person's files and in ``--config``, each a directory below invalid/.

It holds the files that differ from valid/, ``removed`` (paths that are left out), ``command`` (the
arguments of snakemake) and ``expected`` (the message, word for word).

Most are read by the functions that the Snakefile calls, which takes milliseconds; some go through
Snakemake, for the way in which they are shown. After a change that is meant:
``UPDATE_GOLDEN=1 pytest tests/errors``, and look at the difference.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.artifact import pack
from talosmake.base.errors import TalosmakeError
from talosmake.inventory import settings
from talosmake.render import cilium, machine_config
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests.project import Project

HERE = Path(__file__).parent
CASES = sorted(path.name for path in (HERE / "invalid").iterdir())
# What the files hold that no message may show.
SECRET = "hunter2"


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return generate.gen_secrets("v1.13")


def laid_out(project: Project, name: str) -> list[str]:
    """Fill the project with a case's files; returns the arguments of its command."""
    case = HERE / "invalid" / name
    ignored = shutil.ignore_patterns("command", "expected", "removed")
    shutil.copytree(HERE / "valid", project.root, dirs_exist_ok=True)
    if (case / "removed").exists():
        for path in (case / "removed").read_text().splitlines():
            project.remove(path)
    shutil.copytree(case, project.root, dirs_exist_ok=True, ignore=ignored)
    return (case / "command").read_text().split()


def expected(name: str) -> str:
    return (HERE / "invalid" / name / "expected").read_text().rstrip("\n")


def read_all(arguments: list[str]) -> None:
    """Read and render, as a run does; ``arguments`` are ``--config KEY=VALUE …``."""
    pairs = (argument.split("=", 1) for argument in arguments[1:])
    overrides: dict[str, Any] = {key: yaml.safe_load(value) for key, value in pairs}
    read = settings.read(overrides)
    for environment in [settings.environment(read, name) for name in settings.selected(read)]:
        pack.recipients(environment)
        if environment.cilium:
            cilium.files_of(environment)
            cilium.write_layer(environment)
        for node in environment.nodes:
            machine_config.render(environment, node)


def test_valid_is_valid(project: Project, monkeypatch: pytest.MonkeyPatch, bundle: bytes) -> None:
    shutil.copytree(HERE / "valid", project.root, dirs_exist_ok=True)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    read_all(["--config", "env=all"])
    assert settings.selected(settings.read({"env": "all"})) == ["dev", "prod"]


@pytest.mark.parametrize("name", CASES)
def test_message(
    project: Project, monkeypatch: pytest.MonkeyPatch, bundle: bytes, name: str
) -> None:
    command = laid_out(project, name)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    with pytest.raises(TalosmakeError) as error:
        read_all(command)
    shown = f"Error: {error.value}"
    if os.environ.get("UPDATE_GOLDEN"):
        (HERE / "invalid" / name / "expected").write_text(shown + "\n")
    assert shown.rstrip("\n") == expected(name)
    assert SECRET not in shown


@pytest.mark.parametrize(
    "name",
    [
        "environment-not-given",
        "environment-unknown",
        "cluster-env-missing-key",
        "config-key-unknown",
        "node-address-twice",
    ],
)
def test_shown_by_snakemake_before_anything_is_done(project: Project, name: str) -> None:
    command = laid_out(project, name)
    assert project.fails(*command) == expected(name)
    assert not (project.root / "rendered_configs").exists()
    assert not (project.root / "secrets").exists()


def test_shown_by_snakemake_when_a_job_fails(project: Project) -> None:
    names = ["patch-unknown-name", "patch-no-yaml", "patch-unknown-key"]
    laid_out(project, names[0])
    project.ok("secrets", "--config", "env=dev")
    for name in names:
        project.remove("patches")
        command = laid_out(project, name)
        shown = project.fails("render", "-j1", *command)
        # Which node of a shared file comes first is up to Snakemake.
        assert shown.replace("for dev/worker_1:", "for dev/cp_1:") == expected(name)
        assert SECRET not in shown
