"""Bundles and encrypted patches that are missing, wrong or not encrypted: everything fails closed.

Most is tried with the real sops and age, but without Snakemake, which adds nothing to the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts import age, inventory, render, secrets, talosctl
from scripts.errors import SecretsError
from scripts.model import Environment
from scripts.redact import scalars
from tests.project import Project, encrypted, files_below

MINE, THEIRS = age.new_key(), age.new_key()
PLAIN = talosctl.gen_secrets("v1.13")
PATCH = "machine:\n  sysctls:\n    secret: hunter2hunter2\n"


def _for_dev(text: str) -> str:
    return encrypted(text, MINE.recipient, "secrets/dev.yaml")


BUNDLE = _for_dev(PLAIN.decode()).encode()


@pytest.fixture
def dev(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """dev with its bundle and the key for it; this process works in the project."""
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.write("secrets/dev.yaml", BUNDLE.decode())
    key_of(project).write_bytes(MINE.identity)
    monkeypatch.chdir(project.root)
    for name in ("SOPS_AGE_KEY", "SOPS_AGE_KEY_CMD", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in project.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(secrets, "_decrypted", {})
    yield inventory.load("dev")
    leaked = [value for value in scalars(yaml.safe_load(PLAIN)) if len(value) > 6]
    for path in files_below(project.root):
        assert not any(value.encode() in path.read_bytes() for value in leaked) or (
            path.name == "plain.yaml"
        )


def key_of(project: Project) -> Path:
    return Path(project.env["SOPS_AGE_KEY_FILE"])


def refused(environment: Environment) -> str:
    with pytest.raises(SecretsError) as error:
        secrets.bundle_of(environment)
    shown = str(error.value)
    for value in scalars(yaml.safe_load(PLAIN)):
        assert len(value) < 6 or value not in shown
    assert "AGE-SECRET-KEY" not in shown
    return shown


def test_the_right_key_decrypts(dev: Environment) -> None:
    assert yaml.safe_load(secrets.bundle_of(dev)) == yaml.safe_load(PLAIN)


def test_no_key(project: Project, dev: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    monkeypatch.setenv("HOME", str(project.root))
    shown = refused(dev)
    assert shown.startswith("secrets/dev.yaml: there is no age key to decrypt it with\n")
    assert "SOPS_AGE_KEY_FILE" in shown
    assert "Nothing new was made in its place." in shown


def test_key_file_that_is_not_there(
    project: Project, dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "/no/such/key")
    what = "the age key file that SOPS_AGE_KEY_FILE names cannot be opened"
    assert refused(dev).startswith(f"secrets/dev.yaml: {what}\n")


def test_key_file_that_is_none(project: Project, dev: Environment) -> None:
    key_of(project).write_text("hunter2hunter2\n")
    shown = refused(dev)
    assert shown.startswith("secrets/dev.yaml: the age key cannot be read: it is no age key file")
    assert "hunter2" not in shown


def test_key_of_somebody_else(project: Project, dev: Environment) -> None:
    key_of(project).write_bytes(THEIRS.identity)
    shown = refused(dev)
    assert shown.startswith("secrets/dev.yaml: it is encrypted for other age keys than yours\n")
    assert "sops updatekeys secrets/dev.yaml" in shown


def without(document: bytes, section: str, key: str) -> bytes:
    content = yaml.safe_load(document)
    del content[section][key]
    return yaml.safe_dump(content, sort_keys=False).encode()


def test_bundle_with_an_entry_cut_out(dev: Environment) -> None:
    dev.bundle.write_bytes(without(BUNDLE, "trustdinfo", "token"))
    shown = refused(dev)
    what = "was changed after it was encrypted (sops: MAC mismatch)"
    assert shown.startswith(f"secrets/dev.yaml: {what}\n")
    assert "git log -- secrets/dev.yaml" in shown


def test_bundle_in_plain_text(dev: Environment) -> None:
    dev.bundle.write_bytes(PLAIN)
    shown = refused(dev)
    assert shown.startswith("secrets/dev.yaml: not encrypted (it holds no sops metadata)\n")
    assert "sops encrypt --in-place secrets/dev.yaml" in shown
    dev.bundle.unlink()


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"a: [", b"sops: {}\n", BUNDLE[:5000]])
def test_bundle_that_is_broken(dev: Environment, content: bytes) -> None:
    dev.bundle.write_bytes(content)
    assert refused(dev).startswith("secrets/dev.yaml: ")


def test_encrypted_file_that_is_no_bundle(dev: Environment) -> None:
    dev.bundle.write_text(_for_dev("machine:\n  token: hunter2hunter2\n"))
    shown = refused(dev)
    assert "secrets/dev.yaml: no complete Talos secrets bundle: cluster.id, " in shown
    assert "hunter2" not in shown


def test_bundle_that_lacks_one_part(dev: Environment) -> None:
    dev.bundle.write_text(_for_dev(without(PLAIN, "certs", "etcd").decode()))
    assert "bundle: certs.etcd.crt, certs.etcd.key are missing\n" in refused(dev)


def render_refused(environment: Environment) -> str:
    with pytest.raises(SecretsError) as error:
        render.render(environment, environment.first_control_plane)
    assert "hunter2" not in str(error.value)
    return str(error.value)


def test_sops_patch_in_plain_text_is_not_used(project: Project, dev: Environment) -> None:
    project.patch("dev", "control_planes", "cp_1", PATCH, name="x.sops.yaml")
    path = "patches/envs/dev/control_planes/cp_1/x.sops.yaml"
    assert render_refused(inventory.load("dev")).startswith(f"{path}: not encrypted")


def test_sops_patch_for_another_key(project: Project, dev: Environment) -> None:
    text = encrypted(PATCH, THEIRS.recipient, "secret.sops.yaml")
    project.patch("dev", "control_planes", "cp_1", text, name="x.sops.yaml")
    assert "x.sops.yaml: it is encrypted for other" in render_refused(inventory.load("dev"))


def made(project: Project) -> set[str]:
    return {str(p.relative_to(project.root.parent)) for p in files_below(project.root.parent)}


def test_target_secrets_with_rules_for_other_keys_makes_nothing(
    project: Project, dev: Environment
) -> None:
    project.remove("secrets/dev.yaml")
    rules = secrets._rules(THEIRS.recipient)
    project.write(".sops.yaml", rules)
    before = made(project)
    with pytest.raises(SecretsError, match="it is encrypted for other age keys than yours"):
        secrets.make(dev, "own")
    assert made(project) == before
    assert project.read(".sops.yaml") == rules


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("creation_rules:\n  - path_regex: nothing$\n    age: {}\n", "no matching creation rules"),
        ("creation_rules:\n  - path_regex: x\n", "sops does not encrypt it"),
        ("creation_rules: [\n", "sops does not encrypt it"),
        ("creation_rules:\n  - age: age1nonsense\n", "sops does not encrypt it"),
    ],
)
def test_target_secrets_with_rules_that_do_not_fit_makes_nothing(
    project: Project, dev: Environment, rules: str, message: str
) -> None:
    project.remove("secrets/dev.yaml")
    project.write(".sops.yaml", rules.format(MINE.recipient))
    before = made(project)
    with pytest.raises(SecretsError, match=message) as error:
        secrets.make(dev, "own")
    assert "creation_rules in .sops.yaml" in error.value.hint
    assert made(project) == before


def test_target_secrets_keeps_a_bundle_it_cannot_decrypt(
    project: Project, dev: Environment
) -> None:
    key_of(project).write_bytes(THEIRS.identity)
    before = made(project)
    with pytest.raises(SecretsError, match="other age keys"):
        secrets.make(dev, "own")
    assert made(project) == before
    assert dev.bundle.read_bytes() == BUNDLE


def test_target_secrets_takes_the_key_that_is_there(project: Project, dev: Environment) -> None:
    project.remove("secrets/dev.yaml")
    secrets.make(dev, "own")
    assert key_of(project).read_bytes() == MINE.identity
    assert MINE.recipient in project.read(".sops.yaml")
    assert secrets.bundle_of(dev) != PLAIN
    assert dev.bundle.stat().st_mode & 0o077 == 0
