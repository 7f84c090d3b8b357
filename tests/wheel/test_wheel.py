"""A person's own repository, with data only, and an installed talosmake."""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import BIN, REPOSITORY
from tests.set_up import setup
from tests.wheel.conftest import TOOLS, Installed, Repository

# For two at once.
_OTHER_NET = f"127.{250 + os.getpid() % 5}.{os.getpid() // 5 % 250}"


@pytest.fixture
def net() -> str:
    """Loopback addresses that no other test has."""
    return f"127.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"


def made(root: Path, installed: Installed, home: Path, net: str) -> Repository:
    """A new repository whose nodes are simulated, with its secrets."""
    home.mkdir(exist_ok=True)
    root.mkdir()
    repository = Repository(root, installed, home)
    planes = f"{net}.11,{net}.12"
    nodes = ("--control-planes", planes, "--workers", f"{net}.21")
    repository.ok("init", ".", "--yes", "--env", "dev", *nodes)
    repository.ok("init", "-q", ".", program="git")
    facts = root / "patches/envs/dev/cluster.env"
    facts.write_text(facts.read_text() + "SIMULATED=true\nNODE_TIMEOUT=30\n")
    return repository


@pytest.fixture
def repository(tmp_path: Path, installed: Installed, net: str) -> Iterator[Repository]:
    repository = made(tmp_path / "data", installed, tmp_path / "home", net)
    yield repository
    repository.run("simulator_stop", "dev")


def test_wheel_holds_what_the_workflow_needs_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for part in ("Snakefile", "config", "profiles", "share", "examples", "requirements", "rules"):
        inside = [REPOSITORY / part, *(REPOSITORY / part).rglob("*")]
        files = [path for path in inside if path.is_file() and "__pycache__" not in path.parts]
        assert {f"talosmake/program/{path.relative_to(REPOSITORY)}" for path in files} <= names
    pins = (REPOSITORY / "tools").rglob("go.mod")
    held = {f"talosmake/program/{path.relative_to(REPOSITORY)}" for path in pins} - names
    # It asks the Image Factory's package for make versions, which a clone has.
    assert held == {"talosmake/program/tools/platforms/go.mod"}
    left_out = re.compile(r"_test\.go$|__pycache__|(^|/)tests?/|tools/versions/|\.pyc$")
    assert [name for name in names if left_out.search(name)] == []


def test_new_repository_renders_and_validates_at_once(tmp_path: Path, installed: Installed) -> None:
    (tmp_path / "home").mkdir()
    repository = Repository(tmp_path, installed, tmp_path / "home")
    repository.ok("init", "data", "--yes", "--ci", "github")
    repository = Repository(tmp_path / "data", installed, tmp_path / "home")
    repository.ok("init", "-q", ".", program="git")
    assert "made secrets/prod.yaml, encrypted" in repository.ok("secrets", "prod")
    # Without a target, too: Snakemake takes no default target of an included file.
    plain = repository.ok("--config", "env=prod", program="snakemake")
    assert "prod: 1 control plane and 0 workers: 1 validated" in plain
    assert "Nothing to be done" in repository.ok("validate", "prod")
    shown = repository.ok("explain", "prod", "cp_1", "machine.install.disk")
    assert "+ snakemake explain --config env=prod node=cp_1 path=machine.install.disk" in shown
    assert "machine.install.disk: /dev/sda" in shown
    repository.commit()
    assert repository.untracked() == []


def test_from_nothing_to_a_cluster_and_a_node_more(repository: Repository, net: str) -> None:
    assert "3 applied; bootstrapped" in repository.ok("up", "dev", "-j4")
    assert "Nothing to be done" in repository.ok("up", "dev")
    node = repository.root / "patches/envs/dev/workers/worker_2/node.env"
    node.parent.mkdir()
    node.write_text(f"NODE_IP={net}.22\n")
    output = repository.ok("up", "dev", "-j4")
    assert "4 applied; bootstrapped" in output
    assert not re.search(r"dev/(cp_\d|worker_1): (rendered|applied)", output)
    repository.commit()
    assert repository.untracked() == []
    held = _secrets_in(repository.root / "rendered_configs/dev/controlplane-cp_1.yaml")
    assert held
    listed = repository.ok("ls-files", "-z", program="git").split("\0")
    for name in filter(None, listed):
        content = (repository.root / name).read_text(errors="replace")
        assert not [secret for secret in held if secret in content], name


def _secrets_in(config: Path) -> list[str]:
    text = config.read_text()
    return re.findall(r"^\s+(?:token|secret|key|id): (\S{12,})$", text, re.MULTILINE)


def tool(name: str) -> Path:
    """Where one of the tools of these tests is."""
    return (BIN / name).resolve()


def test_update_shows_what_changes_and_applies_nothing(
    repository: Repository, newer_wheel: Path, newer: Installed
) -> None:
    repository.ok("up", "dev", "-j4")
    before = (repository.root / "rendered_configs/dev/worker-worker_1.yaml").read_bytes()
    # Called by its path, and so without its tools on PATH: the wanted version needs its own, which
    # may be others. They are in the cache, by the Go that set-up found, or where it took them from.
    cache = setup.cache_directory(os.environ)
    go = [Path(setup.which("go")).parent] if setup.which("go") else []
    from_path = [found.parent for name in TOOLS if cache not in (found := tool(name)).parents]
    places = [*go, *from_path, Path(setup.ensure_uv()).parent, "/usr/bin", "/bin"]
    env = {"PATH": os.pathsep.join(map(str, places)), "TALOSMAKE_CACHE": str(cache)}
    program = str(repository.installed.home / "bin/talosmake")
    run = repository.run("update", str(newer_wheel), "--yes", program=program, env=env)
    output = run.output
    assert run.code == 0, output
    assert "0.1.0 -> 99.0.0" in output
    assert "dev: 3 of 3 machine configs change" in output
    assert "+hostname: new-worker-1" in output
    assert (repository.root / "requirements.txt").read_text() == "talosmake==99.0.0\n"
    tools = "The tools in the versions that talosmake 99.0.0 is tested with"
    assert tools in output.partition("In the files that talosmake wrote:")[2]
    assert tools not in (repository.root / "mise.toml").read_text()
    assert (repository.root / "rendered_configs/dev/worker-worker_1.yaml").read_bytes() == before
    assert "Nothing to be done" in repository.ok("up", "dev")


def test_older_version_refuses_what_a_newer_one_migrated(
    repository: Repository, newer: Installed
) -> None:
    repository.ok("secrets", "dev")
    repository.commit()
    pinned = Repository(repository.root, newer, repository.home)
    assert "talosmake migrate --apply" in pinned.ok("migrate")
    assert repository.untracked() == []
    pinned.ok("migrate", "--apply")
    assert {line.split()[1] for line in repository.untracked()} == {".talosmake.json", "mise.toml"}
    assert "nothing to migrate" in pinned.ok("migrate")
    for program, arguments in (
        ("talosmake", ("validate", "dev")),
        ("snakemake", ("validate", "--config", "env=dev")),
        ("talosmake", ("migrate",)),
    ):
        run = repository.run(*arguments, program=program)
        assert run.code != 0
        assert "this repository has format 99, and talosmake 0.1.0 knows no later" in run.output
        assert "Traceback" not in run.output
    # As the message says: with the version that is pinned.
    assert "3 validated" in pinned.ok("validate", "dev", "-j4")


def test_two_repositories_with_two_versions_at_once(
    tmp_path: Path, installed: Installed, newer: Installed, net: str
) -> None:
    pair = [
        made(tmp_path / "old", installed, tmp_path / "home", _OTHER_NET),
        made(tmp_path / "new", newer, tmp_path / "home", net),
    ]
    outputs: dict[str, str] = {}

    def up(repository: Repository) -> None:
        outputs[repository.root.name] = repository.run("up", "dev", "-j4").output

    threads = [threading.Thread(target=up, args=(repository,)) for repository in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        for name, hostname in (("old", "worker-1"), ("new", "new-worker-1")):
            assert "3 applied; bootstrapped" in outputs[name], outputs[name]
            config = tmp_path / name / "rendered_configs/dev/worker-worker_1.yaml"
            assert f"\nhostname: {hostname}\n" in config.read_text()
    finally:
        for repository in pair:
            repository.run("simulator_stop", "dev")


def test_data_below_a_larger_repository(tmp_path: Path, installed: Installed) -> None:
    (tmp_path / "home").mkdir()
    outer = Repository(tmp_path, installed, tmp_path / "home")
    outer.ok("init", "-q", "infrastructure", program="git")
    told = outer.ok("init", "infrastructure/kubernetes/talos", "--yes", "--ci", "github")
    data = Repository(tmp_path / "infrastructure/kubernetes/talos", installed, tmp_path / "home")
    # GitHub looks for workflows at the top only.
    assert not (data.root / ".github").exists()
    workflows = tmp_path / "infrastructure/.github/workflows"
    assert len(list(workflows.glob("kubernetes-talos-*.yml"))) == 4
    for path in workflows.iterdir():
        assert str(path) in told
        assert "working-directory: kubernetes/talos\n" in path.read_text()
    data.ok("secrets", "prod")
    data.ok("validate", "prod")
    data.commit()
    assert data.untracked() == []
    assert data.run("check_secrets").code == 0
    plain = data.root / "secrets/plain.yaml"
    plain.write_text("cluster:\n  secret: dGhpcyBpcyBub3QgZW5jcnlwdGVkIGF0IGFsbCEhISE=\n")
    data.ok("add", "-A", program="git")
    found = data.run("check_secrets")
    assert found.code == 1
    assert "secrets/plain.yaml: is not encrypted" in found.output
    # The hook, switched on as it was told, and not in a repository of its own.
    assert "git init" not in told
    [command] = re.findall(r"^  git (config core\.hooksPath .*)", told, re.MULTILINE)
    data.ok(*command.split(), program="git")
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    refused = data.run(*identity, "commit", "-qm", "x", program="git")
    assert refused.code == 1
    assert "secrets/plain.yaml: is not encrypted" in refused.output


def test_nothing_of_a_larger_repository_is_written_over(
    tmp_path: Path, installed: Installed
) -> None:
    (tmp_path / "home").mkdir()
    outer = Repository(tmp_path, installed, tmp_path / "home")
    outer.ok("init", "-q", ".", program="git")
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/workflows/talos-check.yml").write_text("mine")
    run = outer.run("init", "talos", "--yes", "--ci", "github")
    assert run.code == 1
    assert "talos-check.yml is there already; nothing was written" in run.output
    assert not (tmp_path / "talos").exists()
    # GitLab is told where to look; what Git ignores there is a repository of its own.
    told = outer.ok("init", "talos", "--yes", "--ci", "gitlab")
    assert "CI/CD configuration file:  talos/.gitlab-ci.yml" in told
    (tmp_path / ".gitignore").write_text("/scratch/\n")
    told = outer.ok("init", "scratch/own", "--yes", "--ci", "github")
    assert "git init" in told
    assert (tmp_path / "scratch/own/.github/workflows/check.yml").exists()


def test_demo_in_an_empty_directory(tmp_path: Path, installed: Installed) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "demo").mkdir()
    demo = Repository(tmp_path / "demo", installed, tmp_path / "home")
    run = demo.run("demo", timeout=180)
    demo.run("simulator_stop", "demo")
    assert "5 applied; bootstrapped" in run.output, run.output


def test_directory_with_something_else_gets_no_demo(tmp_path: Path, installed: Installed) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").touch()
    run = Repository(tmp_path / "data", installed, tmp_path / "home").run("demo")
    assert run.code == 1
    assert "is not empty (notes.txt)" in run.output
