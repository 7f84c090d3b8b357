from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from pathlib import Path

import pyte
import pytest

from tests.project import REPOSITORY, Project

BASH = REPOSITORY / "share/completion/talosmake.bash"
FISH = REPOSITORY / "share/completion/talosmake.fish"
ZSH = REPOSITORY / "share/completion/talosmake.zsh"


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
        ("snakemake re", ["render", "report", "rekey", "reset", "reboot", "refresh"]),
        ("snakemake vms_d", ["vms_destroy"]),
        ("snakemake up --config ", ["env=", "goal=", "workers_at_once=", "bundle=", "strict="]),
        ("snakemake up --config e", ["env="]),
        ("snakemake up --config env=", ["dev", "prod", "all"]),
        ("snakemake up --config env=p", ["prod"]),
        ("snakemake promote --config from=d", ["dev"]),
        ("snakemake reset --config env=dev node=", ["cp_1", "worker_1"]),
        ("snakemake reset --config env=dev node=worker_1 confirm=w", ["worker_1"]),
        ("snakemake reset --config env=none node=", []),
        ("snakemake reset --config node=", []),
        ("snakemake diff --config against=", ["live", "applied"]),
        ("snakemake secrets --config bundle=s", ["shared"]),
        ("snakemake schematics --config submit=", ["true", "false"]),
        ("snakemake --q", ["--quiet"]),
    ],
)
def test_what_is_offered(two: Project, line: str, offered: list[str]) -> None:
    assert completed(two, line)[: len(offered) or 1] == offered


# Directories that a shell would run, expand or split; each makes a file `ran` if it is run.
ODD = ("$(touch ran)", "`touch ran`", "a;touch ran", "'", '"', "a b", "*", "${HOME}", "-n", "a&b")


@pytest.fixture
def odd(two: Project) -> Project:
    for name in ODD:
        for parent in ("", "dev/control_planes", "dev/workers"):
            (two.root / "patches/envs" / parent / name).mkdir()
    return two


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("snakemake up --config env=", ["dev", "prod", "all"]),
        ("snakemake promote --config from=", ["dev", "prod"]),
        ("snakemake reset --config env=dev node=", ["cp_1", "worker_1"]),
        ("snakemake reset --config env=dev confirm=", ["cp_1", "worker_1", "dev"]),
        ("snakemake reset --config env=$(touch ran) node=", []),
        ("snakemake reset --config env=dev node=$(touch ran)", []),
        ("snakemake up --config env=`touch", []),
    ],
)
def test_no_name_of_a_directory_is_run(odd: Project, line: str, offered: list[str]) -> None:
    assert [word for word in completed(odd, line) if word] == offered
    assert not list(odd.root.rglob("ran"))


def test_names_are_found_where_cd_tells_its_way(
    two: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDPATH", str(two.root))
    assert completed(two, "snakemake up --config env=") == ["dev", "prod", "all"]


def offered_by_fish(project: Project, line: str) -> set[str]:
    script = f"source {FISH}; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return {word.split("\t")[0] for word in done.stdout.splitlines()}


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish(two: Project) -> None:
    assert offered_by_fish(two, "snakemake vms_d") == {"vms_destroy"}
    assert offered_by_fish(two, "snakemake up --config env=p") == {"env=prod"}
    assert "node=worker_1" in offered_by_fish(two, "snakemake reset --config env=dev node=")


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_runs_no_name_of_a_directory(odd: Project) -> None:
    words = offered_by_fish(odd, "snakemake up --config env=")
    assert words == {"env=dev", "env=prod", "env=all"}
    words = offered_by_fish(odd, "snakemake reset --config env=dev node=")
    assert words == {"node=cp_1", "node=worker_1"}
    assert not list(odd.root.rglob("ran"))


def _typed_into_zsh(project: Project, line: str, until: str) -> list[str]:
    """A terminal's screen once a text stands on it, after a line and two tabulators."""
    screen = pyte.Screen(160, 24)
    stream = pyte.ByteStream(screen)
    side, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    zsh = subprocess.Popen(
        ["zsh", "-f", "-i"],
        cwd=project.root,
        env={**project.variables, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    begun = f"PROMPT='> '; autoload -Uz compinit; compinit -u -D; source {ZSH}; clear\n"
    os.write(side, f"{begun}{line}\t\t".encode())
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end:
            if select.select([side], [], [], 0.1)[0]:
                stream.feed(os.read(side, 4096))
            shown = [text.rstrip() for text in screen.display]
            if any(until in text for text in shown):
                return shown
        raise AssertionError("\n".join(shown))
    finally:
        zsh.kill()
        zsh.wait()
        os.close(side)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("snakemake vms_d", "vms_destroy"),
        ("snakemake up --config e", "env="),
        ("snakemake up --config env=p", "env=prod"),
        ("snakemake promote --config from=d", "from=dev"),
        ("snakemake reset --config env=dev node=w", "node=worker_1"),
        ("snakemake reset --config env=dev node=worker_1 confirm=w", "confirm=worker_1"),
        ("snakemake diff --config against=l", "against=live"),
        ("snakemake --q", "--quiet"),
    ],
)
def test_zsh_completes(two: Project, line: str, completed: str) -> None:
    done = f"> {line.rpartition(' ')[0]} {completed}"
    assert _typed_into_zsh(two, line, done)[0] == done


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_shows_what_there_is(two: Project) -> None:
    shown = _typed_into_zsh(two, "snakemake reset --config env=dev node=", "worker_1")
    assert shown[1].split() == ["cp_1", "worker_1"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("snakemake reset --config env=dev node=", ["cp_1", "worker_1"]),
        ("snakemake up --config env=", ["all", "dev", "prod"]),
    ],
)
def test_zsh_runs_no_name_of_a_directory(odd: Project, line: str, offered: list[str]) -> None:
    shown = _typed_into_zsh(odd, line, offered[-1])
    assert sorted(shown[1].split()) == offered
    assert not list(odd.root.rglob("ran"))


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
    for path in (BASH, FISH, ZSH):
        named = set(re.findall(r"[a-z_]+", path.read_text()))
        assert targets <= named, targets - named
