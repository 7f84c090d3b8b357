"""Every command of the documentation is run, or says what it needs.

The shipped files are copied, with loopback addresses in place of prod's and the demo's. Behind
prod's stand simulated nodes that the workflow takes for machines.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forked
from tests.docs.pages import NO_COMMANDS, PAGES, Block, blocks, missing
from tests.project import BIN, REPOSITORY, Project

# What CI itself calls, and with it these tests.
_BY_CI = {"make test", "make demo", "make setup\nsource .venv/bin/activate", "make docs"}
_WHO = ("AUTHOR", "COMMITTER")
_RUN = [page for page in PAGES if any(block.commands for block in blocks(page))]


def _id(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_blocks_say_what_they_are(page: Path) -> None:
    text = page.read_text()
    assert text.count("```") == 2 * len(blocks(page))
    for block in blocks(page):
        assert block.language in NO_COMMANDS | {"sh", "console"}, f"{page.name}:{block.line}"
        if block.language in NO_COMMANDS:
            assert not block.text.startswith(("$ ", "snakemake ", "talosctl ", "make ", "sudo "))


@pytest.fixture
def addresses(worker_id: str) -> dict[str, str]:
    """Loopback addresses that no other test uses, for those in the documentation."""
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 9
    own = f"127.{160 + worker}.{os.getpid() % 250 + 1}"
    other = f"127.{170 + worker}.{os.getpid() % 250 + 1}"
    return {"10.1.1.": f"{own}.", "127.0.10.": f"{other}."}


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text


def _copy(root: Path, addresses: dict[str, str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, root / name
        if name.startswith("tests/") or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(source.stat().st_mode)
    for path in (root / "patches").rglob("*.*"):
        if path.is_file():
            path.write_text(_replaced(path.read_text(), addresses))


@pytest.fixture(scope="module")
def _forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with forked.program(tmp_path_factory.mktemp("bin"), BIN / "snakemake") as directory:
        yield directory


@pytest.fixture
def copy(project: Project, addresses: dict[str, str], _forked: Path) -> Iterator[Project]:
    _copy(project.root, addresses)
    project.first = _forked
    # As after make setup.
    (project.root / ".venv").symlink_to(BIN.parent)
    script = (REPOSITORY / "tests/docs/old/render.sh").read_text()
    project.write("old/render.sh", _replaced(script, addresses)).chmod(0o755)
    project.env |= {
        # Who edits writes the least patch there is.
        "EDITOR": f"sh {project.write('.editor', 'echo machine: {} >$1')}",
        # Of this copy's plugin, and with it of its code, where .venv is another checkout's.
        "PYTHONPATH": str(project.root / "plugins"),
        **{f"GIT_{who}_{what}": "docs@example.org" for who in _WHO for what in ("NAME", "EMAIL")},
    }
    made = project.run(
        "sh",
        "-c",
        "git init -q && echo /.venv >> .git/info/exclude && git add -A && git commit -qm all",
    )
    assert made.code == 0, made.output
    with project.fleet(_machines(project.root)):
        yield project


def _machines(root: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted((root / "patches/envs/prod").glob("*/*/node.env")):
        facts = dict(line.split("=") for line in path.read_text().splitlines())
        found.append({"address": facts["NODE_IP"], "mac": facts["NODE_MAC"]})
    return found


@pytest.mark.parametrize("page", _RUN, ids=_id)
def test_commands_do_what_the_page_shows(
    page: Path, copy: Project, addresses: dict[str, str]
) -> None:
    for block in blocks(page):
        if not block.needs:
            _run_block(block, f"{page.name}:{block.line}", copy, addresses)


def _run_block(block: Block, where: str, copy: Project, addresses: dict[str, str]) -> None:
    if block.first:
        first = _shell(copy, _replaced(block.first, addresses))
        assert first.returncode == 0, f"{where}, first: {first.stdout}"
    code = 0
    for command in block.commands:
        if command.text in _BY_CI:
            continue
        if command.text == "echo $?":
            assert command.shown == (str(code),), where
            continue
        done = _shell(copy, _replaced(command.text, addresses))
        code, output = done.returncode, done.stdout
        for old, new in addresses.items():
            output = output.replace(new, old)
        told = f"{where}: {command.text}\n{output}"
        assert "Traceback" not in output, told
        if block.example:
            continue
        assert code == 0 or any(other.text == "echo $?" for other in block.commands), told
        assert missing(command.shown, output) == [], told


def _shell(copy: Project, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=copy.root,
        env=copy.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
