"""No secret byte in anything that is written or shown, rendered_configs/ and secrets/ apart."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from talosmake.base.redact import scalars
from tests.project import BIN, Project, encrypted, files_below

UP = ("-j4", "--config", "env=lab")
# Patches that are secret, too.
_PASSWORD = "correct-horse-battery-staple"
_NEW_PASSWORD = "tr0ub4dor-and-3"
_REGISTRY = """\
machine:
  # Lint finds each of these.
  certSANs: [correct-horse-battery-staple, correct-horse-battery-staple]
  disks:
    - device: correct-horse-battery-staple
  registries:
    config:
      registry.example.org:
        auth:
          username: ${NODE_NAME}
          password: correct-horse-battery-staple
"""


def _known_bundle(project: Project) -> list[str]:
    """The secret values of the lab's throw-away bundle; public certificates left out."""
    key = project.root / "secrets/lab.agekey"
    done = subprocess.run(
        [BIN / "sops", "decrypt", "secrets/lab.yaml"],
        cwd=project.root,
        env={**project.variables, "SOPS_AGE_KEY_FILE": str(key)},
        capture_output=True,
        check=True,
    )
    document = yaml.safe_load(done.stdout)
    for pair in document["certs"].values():
        pair.pop("crt", None)
    document["cluster"].pop("id")
    values = [*scalars(document), _PASSWORD, _NEW_PASSWORD, key.read_text().splitlines()[-1]]
    assert len(values) >= 10
    return values


@contextmanager
def _watched_arguments() -> Iterator[set[bytes]]:
    """All command lines of all processes, looked at again and again."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)  # talosctl, the shortest, takes more than twice as long

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _encrypt_patch(project: Project, path: str, text: str) -> None:
    key = (project.root / "secrets/lab.agekey").read_text()
    recipient = key.partition("public key: ")[2].split()[0]
    project.write(path, encrypted(text, recipient, path))


def test_whole_run_leaks_nothing(lab: Project, network: str) -> None:
    lab.ok("secrets", *UP)
    _encrypt_patch(lab, "patches/envs/lab/workers/worker_1/registry.sops.yaml", _REGISTRY)
    secrets = _known_bundle(lab)
    with _watched_arguments() as arguments:
        run = lab.ok(*UP, "--verbose")
        shown = run.output + lab.ok("nodes", *UP).output + lab.ok("refresh", *UP).output
        found = lab.ok("lint", *UP).output
        assert "[doubled-item]" in found
        assert "[disk-path]" in found
        shown += found
        explained = lab.ok("explain", *UP, "node=worker_1").output
        assert "machine.registries.config[registry.example.org].auth.password" in explained
        shown += explained
        shown += _differences(lab)
        shown += _deployed_artifact(lab)
        script = lab.run("bash", "-x", "rendered_configs/lab/apply.sh", "--bootstrap")
        assert script.code == 0, script.output
        # What fails must not leak, either.
        lab.patch("lab", "workers", "worker_2", "machine:\n  type: [\n")
        shown += script.output + lab.fails(*UP)
    assert any(b"gen\0config" in line for line in arguments)

    config = lab.read("rendered_configs/lab/worker-worker_1.yaml")
    assert f"password: {_PASSWORD}" in config
    assert "username: worker_1" in config
    written = [
        path
        for path in files_below(lab.root.parent)
        if not _may_hold_secrets(path.relative_to(lab.root.parent))
    ]
    assert any(".snakemake" in path.parts for path in written)
    assert any(path.name == "apply.sh" for path in written)
    assert any("explain" in path.parts for path in written)
    assert any("applied" in path.parts for path in written)
    for secret in secrets:
        assert secret not in shown
        assert not [path for path in written if secret.encode() in path.read_bytes()]
        assert not [line for line in arguments if secret.encode() in line]


def _differences(lab: Project) -> str:
    """What ``diff`` shows while Git has other secrets than the nodes, old and new ones."""
    path = "patches/envs/lab/workers/worker_1/registry.sops.yaml"
    old = lab.read(path)
    shown = lab.ok("diff", *UP).output
    _encrypt_patch(lab, path, _REGISTRY.replace(_PASSWORD, _NEW_PASSWORD))
    for against in ("live", "applied"):
        run = lab.snakemake("diff", *UP, f"against={against}")
        assert run.code == 2, run.output
        shown += run.output
    # Nothing here knows of the old password any more, only the node does.
    lab.remove(path)
    lab.remove("rendered_configs/lab/applied")
    run = lab.snakemake("diff", *UP, "node=worker_1")
    assert run.code == 2, run.output
    shown += lab.ok("report", *UP, "live=true").output + lab.ok("doctor", *UP).output
    assert "<h3>The node and Git</h3>" in lab.read("rendered_configs/lab/report.html")
    assert re.search(r"-  certSANs:\n-  - <redacted \d+>\n-  - <redacted \d+>", run.output), (
        run.output
    )
    lab.write(path, old)
    lab.ok(*UP)
    return shown + run.output


def _deployed_artifact(lab: Project) -> str:
    """What is shown while an artifact with complete configs is made, checked and deployed."""
    key = (lab.root / "secrets/lab.agekey").read_text()
    recipient = key.partition("public key: ")[2].split()[0]
    cluster_env = "patches/envs/lab/cluster.env"
    lab.write(cluster_env, lab.read(cluster_env) + f"ARTIFACT_RECIPIENTS={recipient}\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    commit = (*who, "commit", "-q", "-m", "one", "patches")
    for arguments in (("init", "-q"), ("add", "patches"), commit):
        assert lab.run("git", *arguments).code == 0
    shown = lab.ok("artifact_check", *UP).output + lab.ok("artifact", *UP).output
    [path] = (lab.root / "rendered_configs/lab").glob("*.tar.gz")
    packed = gzip.decompress(path.read_bytes())
    assert b"configs.tar.age" in packed
    for secret in _known_bundle(lab):
        assert secret.encode() not in packed
    return shown + lab.ok("deploy", *UP, f"artifact={path}", "--verbose").output


def _may_hold_secrets(path: Path) -> bool:
    parts = path.parts[1:]
    if parts[0] == "rendered_configs":
        # Machine configs and access to the cluster; not apply.sh, nor the markers.
        config = path.suffix == ".yaml" and parts[2] not in ("explain", "applied")
        return config or path.name in ("talosconfig", "kubeconfig")
    # The simulated machines' own disks, and the throw-away key itself.
    return (parts[:2] == (".simulator", "lab") and len(parts) > 3) or path.suffix == ".agekey"


def test_files_with_secrets_are_for_their_owner_only(lab: Project) -> None:
    lab.ok(*UP)
    root = lab.root / "rendered_configs/lab"
    assert root.stat().st_mode & 0o777 == 0o700
    for path in [*root.glob("*.yaml"), *root.glob("*config"), root / "state/talosconfig"]:
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert (lab.root / "secrets/lab.agekey").stat().st_mode & 0o777 == 0o600


def test_refusal_of_a_node_shows_no_value(lab: Project, network: str) -> None:
    """The node does not know a key, as one that boots an older Talos, and quotes its value."""
    lab.ok("secrets", *UP)
    _encrypt_patch(lab, "patches/envs/lab/workers/worker_1/registry.sops.yaml", _REGISTRY)
    lab.ok("validate", *UP)
    lab.ok("-j4", ".simulator/lab/ready", "--config", "env=lab")
    unknown = f"machine:\n    newKey:\n        login: worker_1\n        password: {_PASSWORD}\n"
    _pass_off_as_validated(lab, unknown)
    script = lab.run("bash", "rendered_configs/lab/apply.sh")
    assert script.code == 1
    assert script.output.rstrip().endswith("unknown keys found during decoding:"), script.output
    assert "apply.sh: worker_1: error applying new configuration" in script.output

    error = lab.fails("apply", *UP)
    assert f"lab/worker_1 ({network}.21): error applying" in error
    keys = "machine.newKey.login, machine.newKey.password"
    assert f"unknown keys found during decoding: {keys}\n" in error
    # The report tells of it with a config that is made of the patches again.
    lab.remove("rendered_configs/lab/worker-worker_1.yaml")
    lab.ok("report", *UP)
    report = lab.read("rendered_configs/lab/report.html")
    logs = [path.read_text() for path in files_below(lab.root / "logs")]
    assert keys in report
    assert any(keys in log for log in logs)
    for text in (script.output, error, report, *logs):
        assert _PASSWORD not in text


def _pass_off_as_validated(lab: Project, head: str) -> None:
    """Change worker_1's config as only another talosctl would let it pass."""
    config = lab.root / "rendered_configs/lab/worker-worker_1.yaml"
    marker = lab.root / "rendered_configs/lab/state/worker-worker_1.validated"
    content = config.read_text().replace("machine:\n", head, 1)
    said = json.loads(marker.read_text())
    said["sha256"] = hashlib.sha256(content.encode()).hexdigest()
    for path, text in ((config, content), (marker, json.dumps(said))):
        before = path.stat()
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_error_about_an_encrypted_patch_shows_no_value(lab: Project) -> None:
    lab.ok("secrets", *UP)
    path = "patches/envs/lab/workers/worker_1/bad.sops.yaml"
    text = f"machine:\n  install:\n    wipe: {_PASSWORD}\n  nonsense:\n    {_PASSWORD}: 1\n"
    _encrypt_patch(lab, path, text)
    run = lab.snakemake("render", *UP)
    assert run.code != 0
    assert path in run.output
    assert "correct" not in run.output
