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
    dev.ok("validate", *ENV)
    dev.ok("report", *ENV)
    return dev


def test_it_says_what_there_is_and_needs_nothing_else(reported: Project) -> None:
    page = reported.read(REPORT)
    for node in ("controlplane-cp_1", "controlplane-cp_2", "worker-worker_1", "worker-worker_2"):
        assert f'<details id="{node}"' in page
    assert "vm.swappiness: &#34;7&#34;" in page or "vm.swappiness: &#39;7&#39;" in page
    assert "patches/envs/dev/workers/worker_1/node.yaml:3</span>" in page
    assert "[disk-path]" in page
    assert re.search(r"<p>\d+ jobs in ", page)  # the last run
    assert "<redacted>" not in page  # escaped, as all that comes from patches is
    assert "&lt;redacted&gt;" in page
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|file:)""", page)
    assert (reported.root / REPORT).stat().st_mode & 0o777 == 0o600


def test_failed_nodes_are_told_of(reported: Project) -> None:
    """What failed before is shown with its error; the sound nodes are brought up to date."""
    reported.patch("dev", "workers", "worker_1", "machine: {netwrok: {}}\n")
    assert reported.snakemake("-k", *ENV).code == 1
    reported.patch("dev", "workers", "worker_2", "machine: {sysctls: {vm.swappiness: '9'}}\n")
    run = reported.ok("report", *ENV)
    assert run.jobs == {"render_config:dev/worker_2", "validate_config:dev/worker_2", "report"}
    page = reported.read(REPORT)
    assert '<span class="pill failed">1 render failed</span>' in page
    assert "unknown keys found during decoding" in page
    assert "There is no validated machine config." in page
    assert "vm.swappiness: &#39;9&#39;" in page
    # The run that failed is the one that is drawn.
    assert '<span class="bad">worker worker_1 render failed</span>' in page
    # Fixed, it is rendered for the report as ever; so it is where a default may have fixed it.
    reported.write("config/config.yaml", "defaults: {TALOS_CONTRACT: v1.12}\n")
    assert "talosctl refuses it" in reported.fails("report", *ENV)
    reported.patch("dev", "workers", "worker_1", "machine: {}\n")
    reported.ok("report", *ENV)
    assert '<span class="pill validated">4 validated</span>' in reported.read(REPORT)


def test_what_lint_refuses_is_told_of(reported: Project) -> None:
    strict = (*ENV, "strict=true")
    assert "disk-path" in reported.fails(*strict)
    (reported.root / REPORT).unlink()
    reported.ok("report", *strict)
    assert "[disk-path]" in reported.read(REPORT)


def test_pictures_are_of_the_run_that_was_asked_for(dev: Project) -> None:
    strict = (*ENV, "strict=true")
    facts = 'LINT_OFF="endpoint even-control-planes"\n'
    dev.write("patches/envs/dev/cluster.env", CLUSTER_ENV + facts)
    dev.ok("validate", *strict)
    assert " stale" not in dev.ok("dag", *strict).output
    # Without it, lint would be another job.
    assert "1 stale" in dev.ok("dag", *ENV).output


def test_first_report_of_what_is_broken_is_an_error(dev: Project) -> None:
    dev.patch("dev", "workers", "worker_1", "machine: {netwrok: {}}\n")
    run = dev.snakemake("report", *ENV)
    assert run.code == 1
    assert "Error: patches/envs/dev/workers/worker_1/node.yaml: talosctl refuses it" in run.error


def test_nodes_that_changed_since_and_that_were_asked(lab: Project) -> None:
    up = ("-j4", "--config", "env=lab")
    lab.ok("up", *up)
    page = lab.root / "rendered_configs/lab/report.html"
    lab.ok("report", *up)
    assert '<span class="pill applied">5 applied</span>' in page.read_text()
    lab.patch("lab", "workers", "worker_1", "machine: {sysctls: {vm.swappiness: '9'}}\n")
    shown = lab.ok("validate", *up).output
    assert "4 applied, 1 changed since applied; bootstrapped" in shown
    assert "Next: snakemake up --config env=lab -j4" in shown
    [row] = re.findall(r"^worker_1 .*", lab.ok("nodes", *up).output, re.MULTILINE)
    assert "  applied, changed since  v1.13.0  running" in row
    lab.ok("report", *up)
    assert '<span class="pill stale">1 applied, changed since</span>' in page.read_text()
    lab.ok("report", *up, "live=true")
    assert '<span class="pill stale">1 applied, differs from Git</span>' in page.read_text()
    lab.patch("lab", "workers", "worker_1", "machine: {}\n")
    # Made again, so newer than what was applied; the node itself says that it is the same.
    lab.ok("report", *up, "live=true")
    assert '<span class="pill applied">5 applied</span>' in page.read_text()


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
