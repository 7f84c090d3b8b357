"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from talosmake.base import this_run
from tests.project import BIN, REPOSITORY, Project

# What a shell starts in the background ignores Ctrl-C, and what nohup starts a closed terminal; so
# would all that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Hundreds of runs would compile this project's code again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is slow at times; speed is measured in benchmarks.
settings.register_profile("talosmake", deadline=None)
settings.load_profile("talosmake")

_fleets = count(1)
# What runs real Talos nodes goes to one worker, one after the other: two cores emulate them all.
_REAL = ("tests/lab/", "tests/machines/test_talos.py")
# The others, whose tests take a second or less, fill up what is left.
_LONG_FIRST = [
    f"tests/{name}" for name in ("lab", "machines", "e2e", "docs", "wheel", "workflow", "checks")
]


class _RealNodesTogether(LoadScopeScheduling):  # type: ignore[misc]
    """Each test by itself, but those with real nodes together."""

    def _split_scope(self, nodeid: str) -> str:
        return "real nodes" if nodeid.startswith(_REAL) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _RealNodesTogether:
    """xdist's own groups do not work with this pytest, which knows no ``_nodeid`` any more."""
    return _RealNodesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that no worker is left alone with it at the end."""
    order = {start: place for place, start in enumerate(_LONG_FIRST)}
    items.sort(key=lambda item: order.get("/".join(item.nodeid.split("/")[:2]), len(order)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests counted, also where they ran in processes of their own."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "count" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
    _keep_durations(terminalreporter)


def _keep_durations(terminalreporter: pytest.TerminalReporter) -> None:
    """The slowest tests of the last run, in a file, to be looked at when a run takes long."""
    took = [
        (report.duration, report.when, report.nodeid)
        for name in ("passed", "failed")
        for report in terminalreporter.getreports(name)
    ]
    lines = [f"{seconds:8.2f} s {when} {name}\n" for seconds, when, name in sorted(took)[::-1][:30]]
    if len(took) > 100:
        path = REPOSITORY / ".pytest_cache/slowest.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))


@pytest.fixture(autouse=True)
def _run() -> None:
    """A run of its own for each test, as each is in a process of its own otherwise."""
    this_run.begin()


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home shared by the session, for Snakemake's own caches."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(tmp_path: Path, _home: Path) -> Iterator[Project]:
    """An empty project with an age key of its own; its simulated nodes are stopped at the end."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "patches/envs").mkdir(parents=True)
    key = tmp_path / "age.key"
    made = Project(root, {"HOME": str(_home), "SOPS_AGE_KEY_FILE": str(key)})
    made.env["XDG_CACHE_HOME"] = str(_home / ".cache")
    yield made
    made.stop_simulators()


@pytest.fixture(scope="session")
def _dev(tmp_path_factory: pytest.TempPathFactory, _home: Path) -> Path:
    """What dev begins with, made once; its age key is age.key."""
    root = tmp_path_factory.mktemp("dev")
    made = Project(root, {"HOME": str(_home), "SOPS_AGE_KEY_FILE": str(root / "age.key")})
    made.environment("dev")
    made.node("dev", "control_planes", "cp_1", "10.9.0.11")
    made.node("dev", "control_planes", "cp_2", "10.9.0.12")
    made.node("dev", "workers", "worker_1", "10.9.0.21")
    made.node("dev", "workers", "worker_2", "10.9.0.22")
    made.ok("secrets", "--config", "env=dev")
    return root


@pytest.fixture
def dev(project: Project, _dev: Path) -> Project:
    """A project with one environment, dev: two control planes, two workers, and its secrets."""
    shutil.copytree(_dev, project.root, symlinks=True, dirs_exist_ok=True)
    (project.root / "age.key").rename(project.env["SOPS_AGE_KEY_FILE"])
    return project


@pytest.fixture
def network(request: pytest.FixtureRequest, worker_id: str) -> str:
    """The first three numbers of a /24 of loopback addresses that no other test uses.

    For a cluster that runs already it is where that runs.
    """
    if "running" in request.fixturenames:
        return str(request.getfixturevalue("running_network"))
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 99
    return f"127.{100 + worker}.{(os.getpid() * 7 + next(_fleets)) % 250 + 1}"


@pytest.fixture
def lab(project: Project, network: str) -> Project:
    """A project with one environment of simulated nodes, lab: three control planes, two workers."""
    project.lab(network)
    return project


@pytest.fixture
def metal(project: Project, network: str) -> Iterator[Project]:
    """A project whose environment, metal, does not know that its one machine is simulated.

    Its secrets are made as for real machines; the simulator's state is in fleet/.
    """
    project.environment("metal", "NODE_TIMEOUT=30\nETCD_TIMEOUT=30\n")
    project.node("metal", "control_planes", "cp_1", f"{network}.11")
    project.ok("secrets", "--config", "env=metal")
    nodes = [{"address": f"{network}.11", "mac": "52:54:00:00:00:11"}]
    with project.fleet(nodes):
        yield project


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    """Say what is missing before hundreds of tests do."""
    names = ("snakemake", "talosctl", "sops", "age", "age-keygen", "talos-simulator")
    missing = [name for name in names if not (BIN / name).exists()]
    assert not missing, f"not in {BIN}: {', '.join(missing)}; run 'make test', which sets them up"
