"""Artifacts: what is in them, and deploying exactly that, with simulated nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from talosmake.artifact import archive, pack, unpack
from talosmake.base import talosctls, this_run
from talosmake.base.errors import ArtifactError
from talosmake.base.redact import scalars
from talosmake.inventory import environments
from talosmake.render import disclosure
from talosmake.secrets import age
from tests.project import BIN, Project, encrypted

_PASSWORD = "correct-horse-battery-staple"
_REGISTRY = f"""\
machine:
  registries:
    config:
      registry.example.org:
        auth:
          username: puller
          password: {_PASSWORD}
"""
_LABEL = "machine:\n  nodeLabels:\n    zone: {}\n"
_IGNORED = "/rendered_configs/\n/logs/\n/.snakemake/\n/.simulator/\n/secrets/lab.*\n/secrets/.*\n"


def _recipient(project: Project) -> str:
    """The recipient of the project's own key, which is made where there is none."""
    key = Path(project.env["SOPS_AGE_KEY_FILE"])
    if not key.exists():
        key.write_bytes(age.new_key().identity)
    return age.recipient_of(key.read_bytes())


def _git(project: Project, *arguments: str) -> str:
    run = project.run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments)
    assert run.code == 0, run.output
    return run.output


def _commit(project: Project) -> None:
    project.write(".gitignore", _IGNORED)
    _git(project, "init", "-q")
    _git(project, "add", "-A")
    _git(project, "commit", "-q", "-m", "one")


def _clone(project: Project, name: str) -> Project:
    clone = Project(project.root.parent / name, project.env)
    subprocess.run(["git", "clone", "-q", project.root, clone.root], check=True)
    return clone


def _artifact(project: Project, env: str) -> Path:
    project.ok("artifact", "-j4", "--config", f"env={env}")
    [path] = (project.root / f"rendered_configs/{env}").glob(f"talos-{env}-*.tar.gz")
    return path


def _members(path: Path) -> dict[str, bytes]:
    return archive.unpack(archive.decompress(path.read_bytes()))


def _known_bundle(project: Project) -> list[str]:
    done = subprocess.run(
        [BIN / "sops", "decrypt", "secrets/dev.yaml"],
        cwd=project.root,
        env=project.variables,
        capture_output=True,
        check=True,
    )
    document = yaml.safe_load(done.stdout)
    document["cluster"].pop("id")
    values = [*scalars(document), _PASSWORD, Path(project.env["SOPS_AGE_KEY_FILE"]).read_text()]
    assert len(values) >= 15
    return values


@pytest.fixture
def committed(dev: Project) -> Project:
    path = "patches/envs/dev/workers/worker_1/registry.sops.yaml"
    dev.write(path, encrypted(_REGISTRY, _recipient(dev), path))
    dev.patch("dev", "workers", "worker_2", _LABEL.format("north"))
    _commit(dev)
    return dev


def test_same_commit_same_bytes_and_nothing_secret(committed: Project) -> None:
    one, two = _clone(committed, "one"), _clone(committed, "two")
    first = _artifact(one, "dev")
    time.sleep(1.1)  # markers have times of whole seconds
    second = _artifact(two, "dev")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    members = _members(first)
    manifest = json.loads(members["manifest.json"])
    assert manifest["commit"] == _git(committed, "rev-parse", "HEAD").strip()
    assert manifest["dirty"] is False
    assert manifest["tools"]["talosctl"] == talosctls.default()
    assert sorted(manifest["configs"]) == [
        *("controlplane-cp_1", "controlplane-cp_2"),
        *("worker-worker_1", "worker-worker_2"),
    ]
    config = members["configs/worker-worker_2.yaml"].decode()
    assert "zone: north" in config
    assert "token: <redacted>" in config
    validated = json.loads(members["validation.json"])["worker-worker_2"]
    assert (validated["step"], validated["talosctl"]) == ("validated", talosctls.default())
    assert members["lint.txt"].startswith(b"dev: ")
    assert members["apply.sh"].startswith(b"#!")
    assert b"password: <redacted>" in members["configs/worker-worker_1.yaml"]
    for secret in _known_bundle(committed):
        for name, content in {**members, "all": first.read_bytes()}.items():
            assert secret.encode() not in content, name

    facts = f"ARTIFACT_RECIPIENTS={_recipient(committed)}\n"
    two.write("patches/envs/dev/cluster.env", two.read("patches/envs/dev/cluster.env") + facts)
    two.write("not-in-git", "")
    first.unlink()
    dirty = _artifact(_only(two, second), "dev")
    assert dirty.name == first.name.replace(".tar.gz", "-dirty.tar.gz")
    complete = _members(dirty)
    assert json.loads(complete["manifest.json"])["dirty"] is True
    for secret in _known_bundle(committed):
        assert not [name for name, content in complete.items() if secret.encode() in content]
    key = Path(committed.env["SOPS_AGE_KEY_FILE"]).read_bytes()
    configs = archive.unpack(age.decrypt(complete.pop("configs.tar.age"), [key]))
    for name, content in configs.items():
        assert content == (two.root / f"rendered_configs/dev/{name}").read_bytes()
    assert {name for name in complete if complete[name] != members[name]} == {
        "manifest.json",
        "manifest.hmac-sha256",
    }
    verify = ("--config", "env=dev", f"artifact={dirty}")
    assert "made from a tree with uncommitted changes" in two.ok("validate", "-n", *verify).output
    error = two.fails("deploy", *verify, "strict=true")
    assert "what it holds is in no commit, and strict is set" in error


def _only(project: Project, path: Path) -> Project:
    """The project without an artifact made before."""
    path.unlink()
    return project


@pytest.fixture
def released(lab: Project) -> Project:
    """A lab that was committed, with complete configs in its artifact: FILE.tar.gz."""
    path = "patches/envs/lab/cluster.env"
    lab.write(path, lab.read(path) + f"ARTIFACT_RECIPIENTS={_recipient(lab)}\n")
    lab.patch("lab", "workers", "worker_1", _LABEL.format("north"))
    _commit(lab)
    _artifact(lab, "lab").rename(lab.root.parent / "FILE.tar.gz")
    return lab


_DEPLOY = ("deploy", "-j4", "--config", "env=lab", "artifact=../FILE.tar.gz")


def _running(lab: Project, network: str) -> str:
    answer = lab.talosctl("lab", f"{network}.21", "get", "machineconfig", "v1alpha1", "-o", "json")
    return str(answer.answer["spec"])


def test_deploys_what_was_reviewed(released: Project, network: str) -> None:
    lab = released
    commit = _git(lab, "rev-parse", "HEAD").strip()
    reviewed = lab.read("rendered_configs/lab/worker-worker_1.yaml")
    lab.patch("lab", "workers", "worker_1", _LABEL.format("south"))
    _git(lab, "commit", "-q", "-a", "-m", "two")

    process = lab.start(*_DEPLOY)
    end = time.monotonic() + 60
    state = lab.root / "rendered_configs/lab/state"
    while not list(state.glob("*.applied")) and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert list(state.glob("*.applied"))
    assert not (state / "bootstrapped").exists()

    run = lab.ok(*_DEPLOY)
    assert f"made from commit {commit}" in run.output
    assert "another commit is checked out" in run.output
    assert not {job for job in run.jobs if job.startswith("render_config")}
    assert (state / "bootstrapped").exists()
    assert "zone: north" in _running(lab, network)
    assert lab.read("rendered_configs/lab/worker-worker_1.yaml") == reviewed
    assert "zone: north" in lab.read("rendered_configs/lab/applied/worker-worker_1.yaml")
    assert not lab.ok(*_DEPLOY).jobs

    # What is on the disk is not what counts.
    lab.write("rendered_configs/lab/worker-worker_1.yaml", reviewed.replace("north", "west"))
    assert "is not the config in ../FILE.tar.gz" in lab.fails(*_DEPLOY)
    assert "zone: north" in _running(lab, network)
    lab.remove("rendered_configs/lab/worker-worker_1.yaml")
    lab.ok(*_DEPLOY)

    # A job of a pipeline starts without markers; the nodes themselves say what is done.
    sent = lab.read(".simulator/lab/log").count("ApplyConfiguration")
    lab.remove("rendered_configs")
    lab.ok(*_DEPLOY)
    assert lab.read(".simulator/lab/log").count("ApplyConfiguration") == sent

    # A run without the artifact renders what is in Git.
    run = lab.ok("-j4", "--config", "env=lab")
    # worker_2's patches are the same in both commits; its file is rendered again all the same.
    assert {"render_config:lab/worker_1", "render_config:lab/worker_2"} <= run.jobs
    assert "zone: south" in _running(lab, network)


def _forged(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Members whose manifest fits them, by somebody who has not the bundle."""
    changed = dict(members)
    changed["lint.txt"] = b"lab: no lint findings\n\n"
    manifest = json.loads(changed["manifest.json"])
    manifest["members"]["lint.txt"] = pack.sha256_of(changed["lint.txt"])
    changed["manifest.json"] = pack.as_json(manifest).encode()
    return changed


def _other_configs(lab: Project) -> Callable[[Mapping[str, bytes]], dict[str, bytes]]:
    def change(members: Mapping[str, bytes]) -> dict[str, bytes]:
        names = json.loads(members["manifest.json"])["configs"]
        configs = {f"{name}.yaml": b"machine: {}\n" for name in names}
        forged = age.encrypt(archive.pack(configs, 0), [_recipient(lab)])
        return {**members, "configs.tar.age": forged}

    return change


def test_refuses_what_was_not_reviewed(released: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, path = released, released.root.parent / "FILE.tar.gz"
    genuine, members = path.read_bytes(), _members(path)
    monkeypatch.chdir(lab.root)
    mine = Path(lab.env["SOPS_AGE_KEY_FILE"])
    for name in ("SOPS_AGE_KEY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(lab.root))
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(mine))

    def refused(env: str = "lab") -> str:
        with pytest.raises(ArtifactError) as caught:
            _opened(env)
        return str(caught.value)

    def changed(change: Callable[[Mapping[str, bytes]], Mapping[str, bytes]]) -> str:
        path.write_bytes(archive.compress(archive.pack(change(members), 0), 0))
        return refused()

    assert sorted(_opened("lab")) == sorted(json.loads(members["manifest.json"])["configs"])
    path.write_bytes(genuine[:-300])
    assert "../FILE.tar.gz: is no gzip file, or a damaged one" in refused()
    path.write_bytes(b"no artifact")
    assert "is no gzip file" in refused()
    path.unlink()
    assert "../FILE.tar.gz: cannot be read: No such file" in refused()
    path.write_bytes(archive.compress(archive.pack({"a": b""}, 0), 0))
    assert "is no artifact of this workflow" in refused()
    name = "configs/worker-worker_1.yaml"
    assert f"its {name} was changed" in changed(lambda given: {**given, name: b"machine: {}\n"})
    assert "more than its manifest says: more" in changed(lambda given: {**given, "more": b""})
    assert "are not those that its manifest names" in changed(_other_configs(lab))
    without = {one: members[one] for one in members if one != "configs.tar.age"}
    assert "holds no complete configs" in changed(lambda _: without)

    path.write_bytes(genuine)
    this_run.begin()
    mine.write_bytes(age.new_key().identity)
    error = refused()
    assert "its configs.tar.age cannot be opened" in error
    assert "SOPS_AGE_KEY_FILE" in error
    lab.node("lab", "workers", "worker_3", "127.0.0.1")
    assert "it lacks nodes that are in Git: worker-worker_3" in refused()
    lab.remove("patches/envs/lab/workers/worker_2")
    assert "it has nodes that are not in Git: worker-worker_2" in refused()
    (lab.root / "patches/envs/lab").rename(lab.root / "patches/envs/other")
    assert "is for the environment lab, not other" in refused("other")
    assert "deploy needs the artifact" in lab.fails("deploy", "--config", "env=other")


def _opened(env: str) -> dict[str, bytes]:
    environment = unpack.attached(environments.load(env), "../FILE.tar.gz", False)
    assert environment.artifact
    return unpack.opened(environment, environment.artifact)


def test_sends_nothing_of_a_forged_artifact(released: Project) -> None:
    path = released.root.parent / "FILE.tar.gz"
    forged = _forged(_members(path))
    path.write_bytes(archive.compress(archive.pack(forged, 0), 0))
    error = released.fails(*_DEPLOY)
    assert "was changed after it was made, or made with another bundle" in error
    log = released.root / ".simulator/lab/log"
    assert not log.exists() or "ApplyConfiguration" not in log.read_text()
    assert not list((released.root / "rendered_configs/lab/state").glob("*.applied"))
    # Before anything that it says is told; also where the seal is no text of ours.
    assert "deploying" not in released.snakemake(*_DEPLOY).output
    forged["manifest.hmac-sha256"] = "é".encode()
    path.write_bytes(archive.compress(archive.pack(forged, 0), 0))
    assert "was changed after it was made, or made with" in released.fails(*_DEPLOY)
    forged["manifest.json"] = b"[" * 200_000
    path.write_bytes(archive.compress(archive.pack(forged, 0), 0))
    assert "is no artifact of this workflow (RecursionError" in released.fails(*_DEPLOY)


def test_check_needs_no_key(committed: Project) -> None:
    fork = _clone(committed, "fork")
    key = Path(fork.env["SOPS_AGE_KEY_FILE"])
    key.unlink()
    (fork.root / "secrets/dev.yaml").unlink()
    run = fork.ok("artifact_check", "--config", "env=dev")
    assert "4 configs pass 'talosctl validate' with a throw-away bundle" in run.output
    assert "left out of the check:\n  patches/envs/dev/workers/worker_1/registry.sops.yaml" in (
        run.output
    )
    assert not (fork.root / "secrets").exists() or not list((fork.root / "secrets").iterdir())
    assert [path.name for path in (fork.root / "rendered_configs").iterdir()] == [".check"]
    [path] = (fork.root / "rendered_configs/.check/dev").iterdir()
    members = _members(path)
    assert "zone: north" in members["configs/worker-worker_2.yaml"].decode()
    for content in members.values():
        assert b"PRIVATE KEY" not in content
    config = disclosure.parsed(members["configs/worker-worker_2.yaml"])[("", "")]
    assert config["machine"]["token"] == config["machine"]["ca"]["crt"] == "<redacted>"
    error = fork.fails("deploy", "--config", "env=dev", f"artifact={path}")
    assert "was made by artifact_check" in error
    assert not list(Path("/tmp").glob("talosmake-check-*"))

    fork.patch("dev", "workers", "worker_2", "machine:\n  instal: {}\n")
    error = fork.fails("artifact_check", "--config", "env=dev")
    assert "patches/envs/dev/workers/worker_2/node.yaml: talosctl refuses it" in error
