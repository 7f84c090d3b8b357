"""Mistakes that only a run can make, as a person sees them."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from talosmake.base import process, talosctls, tools
from talosmake.base.errors import ToolError, ValidationError
from talosmake.base.redact import scalars
from talosmake.checks import validate
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.render import machine_config
from talosmake.report import doctor, status
from talosmake.report.check import Verdict
from talosmake.rollout import refresh
from talosmake.secrets import bundles, create
from talosmake.talos import generate, observe
from tests.project import BIN, CLUSTER_ENV, Project

GO = ("-j2", "--config", "env=dev")
NO_HINT = "snakemake secrets --config env=dev"


@pytest.fixture
def bare(project: Project) -> Project:
    """dev with a control plane and a worker, and no secrets."""
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.node("dev", "workers", "worker_1", "10.9.0.21")
    return project


def contents(project: Project, directory: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (project.root / directory).iterdir() if p.is_file()}


def test_missing_bundle_is_never_made_by_the_way(bare: Project) -> None:
    shown = bare.fails(*GO)
    assert shown.startswith("Error: dev: there is no secrets bundle: neither secrets/dev.yaml nor")
    assert NO_HINT in shown
    assert not (bare.root / "secrets").exists()
    assert not (bare.root / ".sops.yaml").exists()
    assert not Path(bare.env["SOPS_AGE_KEY_FILE"]).exists()


@pytest.mark.parametrize("file", ["worker-cp_1.yaml", "state/worker-cp_1.applied"])
def test_file_of_a_node_that_is_not_there(lab: Project, file: str) -> None:
    error = lab.fails("-n", f"rendered_configs/lab/{file}", "--config", "env=lab")
    assert "Error: lab has no node 'worker-cp_1'" in error
    assert "-> There are: controlplane-cp_1, controlplane-cp_2" in error


def test_error_is_shown_where_nothing_else_is(bare: Project) -> None:
    bare.ok("secrets", *GO)
    bare.patch("dev", "workers", "worker_1", "machine: {netwrok: {}}\n")
    shown = bare.fails("--quiet", "all", *GO)
    assert "patches/envs/dev/workers/worker_1/node.yaml: talosctl refuses it" in shown


def test_secrets_are_made_once_and_a_tampered_bundle_stops_everything(bare: Project) -> None:
    bare.ok("secrets", *GO)
    before = contents(bare, "secrets"), bare.read(".sops.yaml")
    assert "is there already and can be decrypted; kept" in bare.ok("secrets", *GO).output
    assert (contents(bare, "secrets"), bare.read(".sops.yaml")) == before

    bundle = yaml.safe_load(bare.read("secrets/dev.yaml"))
    del bundle["trustdinfo"]["token"]
    bare.write("secrets/dev.yaml", yaml.safe_dump(bundle, sort_keys=False))
    tampered = contents(bare, "secrets")
    for target in ((), ("secrets",)):
        shown = bare.fails(*target, *GO)
        assert shown.startswith("Error: secrets/dev.yaml: was changed after it was encrypted")
        assert "sops edit secrets/dev.yaml" in shown
    assert contents(bare, "secrets") == tampered
    assert not list(bare.root.glob("rendered_configs/dev/*.yaml"))


def test_deployed_environment_keeps_its_shared_bundle(bare: Project) -> None:
    bare.ok("secrets", *GO, "bundle=shared")
    bare.write("rendered_configs/dev/state/bootstrapped", "{}")
    shown = bare.fails("separate_secrets", *GO)
    assert shown.startswith("Error: secrets/dev.yaml: not made, because dev was deployed with")
    assert "rendered_configs/dev/state/bootstrapped says so" in shown
    assert "a new one would be a new cluster" in shown
    assert list(contents(bare, "secrets")) == ["secrets.yaml"]


def test_config_that_talosctl_does_not_validate(bare: Project) -> None:
    bare.ok("secrets", *GO)
    bare.write("patches/common.yaml", "machine:\n  sysctls:\n    a: '1'\n")
    mistake = "machine:\n  kubelet:\n    nodeIP:\n      validSubnets: [nonsense]\n"
    bare.patch("dev", "workers", "worker_1", mistake)
    shown = bare.fails(*GO)
    config = "rendered_configs/dev/worker-worker_1.yaml"
    assert shown.startswith(
        "Error: dev/worker_1: 'talosctl validate --mode metal' refuses its machine config "
        f"{config}:\n"
    )
    assert "nonsense" in shown
    layers = "\n".join(
        f"  patches/{path}"
        for path in ("common.yaml", "envs/dev/common.yaml", "envs/dev/workers/worker_1/node.yaml")
    )
    assert f"It is made of these patches, later ones win:\n{layers}\n" in shown
    assert not (bare.root / "rendered_configs/dev/state/worker-worker_1.validated").exists()
    known = [v for v in scalars(yaml.safe_load(bare.read(config).split("---")[0])) if len(v) > 20]
    assert not [value for value in known if value in shown and "/" not in value]


def test_rendered_configs_that_is_a_file(bare: Project) -> None:
    bare.write("rendered_configs", "")
    shown = bare.fails("secrets", *GO)
    assert shown.startswith("Error: rendered_configs/dev: cannot be made a directory")
    assert not (bare.root / "secrets").exists()


def test_another_run_at_work_on_the_environment(bare: Project) -> None:
    state = bare.root / "rendered_configs/dev/state"
    state.mkdir(parents=True)
    with (state / "lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        shown = bare.fails("secrets", *GO)
    assert shown == (
        "Error: dev: another run is at work on this environment (process 4711)\n"
        "  -> Wait until it ends, then run the same command again."
    )
    assert not (bare.root / "secrets").exists()


def test_edited_rendered_config_is_not_applied(
    bare: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare.root)
    bundle = generate.gen_secrets("v1.13")
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    environment = environments.load("dev")
    worker = environment.workers[0]
    machine_config.write_config(environment, worker)
    validate.validate_config(environment, worker)
    config = validate.validated_config(environment, worker)

    path = environment.paths.config(worker)
    path.write_bytes(config + b"# a harmless comment\n")
    with pytest.raises(ValidationError) as error:
        validate.validated_config(environment, worker)
    assert error.value.message.startswith(f"{path}: is not the config that passed 'talosctl valid")
    assert "Change the patches, not the rendered file" in error.value.hint

    path.unlink()
    with pytest.raises(ValidationError, match="cannot be read: No such file"):
        validate.validated_config(environment, worker)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that takes the place of this Python's, and of all others on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("talosctl", "sops", "age", "age-keygen"):
        (directory / name).symlink_to(BIN / name)
    monkeypatch.setattr(sys, "executable", str(directory / "python"))
    monkeypatch.setenv("PATH", os.pathsep.join((str(directory), "/usr/bin", "/bin")))
    process.find.cache_clear()
    tools.require.cache_clear()
    talosctls.require.cache_clear()
    return directory


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    process.find.cache_clear()
    tools.require.cache_clear()
    talosctls.require.cache_clear()


def _replace(program: Path, says: str) -> None:
    program.unlink()
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)


@pytest.mark.parametrize("name", ["talosctl", "age-keygen", "sops"])
def test_missing_tool(
    bare: Project, monkeypatch: pytest.MonkeyPatch, beside: Path, name: str
) -> None:
    monkeypatch.chdir(bare.root)
    for variable, value in bare.env.items():
        monkeypatch.setenv(variable, value)
    (beside / name).unlink()
    with pytest.raises(ToolError) as error:
        create.create(environments.load("dev"))
    missing = {"talosctl": f"talosctl {talosctls.default()} is needed, and not there"}
    assert error.value.message == missing.get(name, f"{name} is not installed")
    assert "make setup" in error.value.hint
    assert not (bare.root / "secrets/dev.yaml").exists()


@pytest.mark.parametrize(
    ("name", "says", "message"),
    [
        ("talosctl", "Talos v1.12.4", "version 1.12.4"),
        ("talosctl", "", "does not tell its version"),
        ("sops", "sops 3.7.3", "version 3.7.3, but at least 3."),
        ("age-keygen", "v1.0.0", "version 1.0.0, but at least 1."),
    ],
)
def test_tool_of_another_version(
    bare: Project,
    monkeypatch: pytest.MonkeyPatch,
    beside: Path,
    name: str,
    says: str,
    message: str,
) -> None:
    monkeypatch.chdir(bare.root)
    for variable, value in bare.env.items():
        monkeypatch.setenv(variable, value)
    _replace(beside / name, says)
    with pytest.raises(ToolError) as error:
        create.create(environments.load("dev"))
    needed = f"talosctl {talosctls.default()} is needed, and not there\n"
    said = error.value.message.removeprefix(needed)
    assert said.startswith(f"{beside / name}: {message}")
    assert "make setup" in error.value.hint
    assert not (bare.root / "secrets/dev.yaml").exists()


@pytest.fixture
def of_1_14(bare: Project, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose Talos has another talosctl than the default one."""
    monkeypatch.chdir(bare.root)
    for variable, value in bare.env.items():
        monkeypatch.setenv(variable, value)
    bare.environment("dev", cluster_env=CLUSTER_ENV.replace("v1.13.0", "v1.14.0"))
    return environments.load("dev")


def test_talosctl_of_a_minor_version_that_was_not_built(of_1_14: Environment, beside: Path) -> None:
    """The default one, which is there, is not taken in its place."""
    pinned = talosctls.version_for("v1.14.0")
    with pytest.raises(ToolError) as error:
        create.create(of_1_14)
    assert error.value.message.splitlines() == [
        f"talosctl {pinned} is needed, and not there",
        f"{beside}/talosctl: version {talosctls.default()}",
    ]
    assert error.value.hint == "Run 'make setup': it takes it from PATH or builds it."


def test_of_several_talosctl_on_path_the_right_one_is_called(
    of_1_14: Environment, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, pinned = tmp_path / "other", talosctls.version_for("v1.14.0")
    other.mkdir()
    (other / "talosctl").touch()
    _replace(other / "talosctl", f"Talos v{pinned}")
    monkeypatch.setenv("PATH", os.pathsep.join((os.environ["PATH"], str(other))))
    assert talosctls.require(of_1_14.cluster.talosctl) == str(other / "talosctl")
    assert talosctls.require(talosctls.default()) == str(beside / "talosctl")


def test_another_patch_version_of_talosctl_has_to_be_there(
    bare: Project, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare.root)
    bare.environment("dev", "TALOSCTL_VERSION=v1.13.4\n")
    wanted = environments.load("dev").cluster.talosctl
    assert wanted == "1.13.4"
    with pytest.raises(ToolError) as error:
        talosctls.require(wanted)
    assert error.value.message.startswith("talosctl 1.13.4 is needed, and not there\n")
    assert error.value.hint == (
        "TALOSCTL_VERSION in cluster.env asks for it, and only pinned ones are built: install this "
        "one so that it is on PATH (mise use talosctl@1.13.4), or remove the line."
    )
    (beside / "talosctl-1.13").touch()
    _replace(beside / "talosctl-1.13", "Talos v1.13.4")
    assert talosctls.require(wanted) == str(beside / "talosctl-1.13")


@pytest.fixture
def listening(bare: Project, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment that was applied, and whose nodes listen."""
    monkeypatch.chdir(bare.root)
    monkeypatch.setattr(observe, "connection_error", lambda _: "")
    bare.write("rendered_configs/dev/talosconfig", "")
    for node in ("controlplane-cp_1", "worker-worker_1"):
        bare.write(f"rendered_configs/dev/state/{node}.applied", "{}")
    return environments.load("dev")


@pytest.mark.parametrize("ask", [refresh.refresh, status.show_nodes])
def test_wrong_talosctl_is_not_a_node_that_does_not_answer(
    listening: Environment, beside: Path, ask: Callable[[Environment], None]
) -> None:
    _replace(beside / "talosctl", "Talos v1.12.4")
    with pytest.raises(ToolError) as error:
        ask(listening)
    assert error.value.message.endswith(
        f"is needed, and not there\n{beside}/talosctl: version 1.12.4"
    )
    assert "make setup" in error.value.hint


def test_doctor_does_not_ask_nodes_without_talosctl(listening: Environment, beside: Path) -> None:
    (beside / "talosctl").unlink()
    [check] = doctor.nodes(listening)
    assert check.verdict is Verdict.WARNING
    needed = f"talosctl {talosctls.default()} is needed, and not there"
    assert check.what == f"dev: its nodes are not asked: {needed}"
    assert "make setup" in check.fix
