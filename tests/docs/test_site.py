"""The documentation as a site, strictly: no dead link, no page that is left out."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pytest

from tests.project import BIN, REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [str(BIN / "mkdocs"), "build", "--strict", "--site-dir", str(target)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_all_pages_are_there(site: Path) -> None:
    pages = {page.stem for page in (REPOSITORY / "docs").glob("*.md")}
    assert {page.stem for page in site.glob("*.html")} == pages | {"404"}
    assert not list(site.rglob("*.sh"))


def test_blocks_are_rendered_as_blocks(site: Path) -> None:
    for page in site.glob("*.html"):
        assert "```" not in page.read_text(), page.name


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="?(https?:[^"\s>]+)')
    for page in site.glob("*.html"):
        assert fetched.findall(page.read_text()) == [], page.name


def test_titles_tell_what_a_command_needs(site: Path) -> None:
    shown = html.unescape((site / "first-cluster.html").read_text())
    assert shown.count(">needs KVM<") >= 5
