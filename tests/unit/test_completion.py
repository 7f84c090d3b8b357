from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import REPOSITORY, Project

BASH = REPOSITORY / "share/completion/talosmake.bash"
FISH = REPOSITORY / "share/completion/talosmake.fish"


def completed(project: Project, line: str) -> list[str]:
    """What bash offers at the end of a command line."""
    script = (
        f"source {BASH}; COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        '_talosmake; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=project.root, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.fixture
def two(project: Project) -> Project:
    for name in ("dev", "prod"):
        project.environment(name)
        project.node(name, "control_planes", "cp_1", "10.9.0.11")
        project.node(name, "workers", "worker_1", "10.9.0.21")
    return project


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("snakemake re", ["render", "report", "refresh", "reset"]),
        ("snakemake vms_d", ["vms_destroy"]),
        ("snakemake up --config ", ["env=", "node=", "path=", "confirm=", "against=", "goal="]),
        ("snakemake up --config e", ["env="]),
        ("snakemake up --config env=", ["dev", "prod", "all"]),
        ("snakemake up --config env=p", ["prod"]),
        ("snakemake promote --config from=d", ["dev"]),
        ("snakemake reset --config env=dev node=", ["cp_1", "worker_1"]),
        ("snakemake reset --config env=dev node=worker_1 confirm=w", ["worker_1"]),
        ("snakemake reset --config env=none node=", []),
        ("snakemake reset --config node=", []),
        ("snakemake diff --config against=", ["live", "applied"]),
        ("snakemake --q", ["--quiet"]),
    ],
)
def test_what_is_offered(two: Project, line: str, offered: list[str]) -> None:
    assert completed(two, line)[: len(offered) or 1] == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish(two: Project) -> None:
    def offered(line: str) -> set[str]:
        script = f"source {FISH}; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script],
            cwd=two.root,
            capture_output=True,
            text=True,
            check=True,
        )
        return {word.split("\t")[0] for word in done.stdout.splitlines()}

    assert offered("snakemake vms_d") == {"vms_destroy"}
    assert offered("snakemake up --config env=p") == {"env=prod"}
    assert "node=worker_1" in offered("snakemake reset --config env=dev node=")


def test_nothing_is_offered_elsewhere(tmp_path: Path) -> None:
    assert completed(Project(tmp_path), "snakemake re") == []


def test_all_targets_are_named() -> None:
    """Each rule that makes no file by a pattern is a target."""
    text = "".join(
        path.read_text() for path in [*REPOSITORY.glob("rules/*.smk"), REPOSITORY / "Snakefile"]
    )
    rules = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)[1:]
    targets = {
        name
        for name, body in zip(rules[::2], rules[1::2], strict=True)
        if "output:" not in body and name != "all"
    }
    for path in (BASH, FISH):
        named = set(re.findall(r"[a-z_]+", path.read_text()))
        assert targets <= named, targets - named
