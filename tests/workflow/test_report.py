"""The page about an environment: complete, without secrets, and as a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import CLUSTER_ENV, Project

ENV = ("-j4", "--config", "env=dev")
REPORT = "rendered_configs/dev/report.html"
_LINT = "machine:\n  install:\n    disk: sda\n"
# What a person would do and see, done by a script behind the page.
_ACT = """
<script>
const seen = {nodes: nodes.length};
filter.value = "worker_1 vm.swappiness"; filter.dispatchEvent(new Event("input"));
seen.filtered = nodes.filter((node) => !node.hidden).map((node) => node.id);
seen.said = shown.textContent;
filter.value = ""; filter.dispatchEvent(new Event("input"));
seen.all = nodes.filter((node) => !node.hidden).length;
location.hash = "#worker-worker_1"; open();
seen.open = nodes.filter((node) => node.open).map((node) => node.id);
seen.back = getComputedStyle(document.body).backgroundColor;
seen.wide = document.documentElement.scrollWidth > innerWidth;
seen.picture = document.querySelector("img").complete && document.querySelector("img").naturalWidth;
seen.focusable = [...document.querySelectorAll("a, summary, input")].every((e) => e.tabIndex >= 0);
const result = document.createElement("pre"); result.id = "result";
result.textContent = JSON.stringify(seen); document.body.append(result);
</script>
"""
browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")


@pytest.fixture
def reported(dev: Project) -> Project:
    dev.patch("dev", "workers", "worker_1", "machine:\n  sysctls:\n    vm.swappiness: '7'\n")
    dev.patch("dev", "workers", "worker_2", _LINT)
    dev.ok("report", *ENV)
    return dev


def test_it_says_what_there_is_and_needs_nothing_else(reported: Project) -> None:
    page = reported.read(REPORT)
    for node in ("controlplane-cp_1", "controlplane-cp_2", "worker-worker_1", "worker-worker_2"):
        assert f'<details id="{node}"' in page
    assert "vm.swappiness: &#34;7&#34;" in page or "vm.swappiness: &#39;7&#39;" in page
    assert "patches/envs/dev/workers/worker_1/node.yaml:3</span>" in page
    assert "[disk-path]" in page
    assert "jobs in " in page  # the last run
    assert "<redacted>" not in page  # escaped, as all that comes from patches is
    assert "&lt;redacted&gt;" in page
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|file:)""", page)
    assert (reported.root / REPORT).stat().st_mode & 0o777 == 0o600


def test_text_of_patches_is_no_html(dev: Project) -> None:
    label = "machine:\n  nodeAnnotations:\n    note: <script>alert(1)</script>\n"
    dev.patch("dev", "workers", "worker_1", label)
    dev.ok("report", *ENV)
    assert "<script>alert(1)" not in dev.read(REPORT)
    assert "&lt;script&gt;alert(1)" in dev.read(REPORT)


def look(path: Path, *options: str) -> tuple[str, str]:
    """The page as Chromium has it after its scripts ran, and what it complains of."""
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", *options]
    command += [f"--user-data-dir={path.parent / 'chromium'}", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(said)


@browser
@pytest.mark.parametrize(
    ("option", "back"),
    [
        ("--blink-settings=preferredColorScheme=1", "rgb(255, 255, 255)"),
        ("--force-dark-mode", "rgb(13, 17, 23)"),
    ],
)
def test_in_a_browser(reported: Project, option: str, back: str) -> None:
    page = reported.write("page.html", reported.read(REPORT).replace("</body>", f"{_ACT}</body>"))
    dom, complaints = look(page, option, "--window-size=1000,800")
    assert complaints == ""
    found = re.search(r'<pre id="result">(.*?)</pre>', dom)
    assert found is not None
    seen = json.loads(found[1])
    assert seen.pop("picture") > 500  # pixels
    assert seen == {
        "nodes": 4,
        "filtered": ["worker-worker_1"],
        "said": "1 of 4",
        "all": 4,
        "open": ["worker-worker_1"],
        "back": back,
        "wide": False,
        "focusable": True,
    }


@pytest.mark.long
@browser
def test_hundred_nodes_on_a_narrow_screen(project: Project) -> None:
    project.environment("dev", cluster_env=CLUSTER_ENV)
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    for number in range(1, 100):
        project.node("dev", "workers", f"worker_{number}", f"10.9.1.{number}")
    project.ok("secrets", "--config", "env=dev")
    project.ok("report", *ENV, timeout=400)
    page = project.write("page.html", project.read(REPORT).replace("</body>", f"{_ACT}</body>"))
    dom, complaints = look(page, "--window-size=420,800")
    assert complaints == ""
    found = re.search(r'<pre id="result">(.*?)</pre>', dom)
    assert found is not None
    seen = json.loads(found[1])
    assert (seen["nodes"], seen["wide"]) == (100, False)
