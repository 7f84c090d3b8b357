"""Bundles and encrypted patches that are missing, wrong or not encrypted: everything fails closed.

Most is tried with the real sops and age, but without Snakemake, which adds nothing to the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from talosmake.artifact import check
from talosmake.base.errors import SecretsError, ValidationError
from talosmake.base.redact import scalars
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.render import machine_config
from talosmake.secrets import age, bundles, create
from talosmake.talos import generate
from tests.project import BIN, Project, encrypted, files_below

MINE, THEIRS = age.new_key(), age.new_key()
PLAIN = generate.gen_secrets("v1.13")
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
    yield environments.load("dev")
    leaked = [value for value in scalars(yaml.safe_load(PLAIN)) if len(value) > 6]
    for path in files_below(project.root):
        assert not any(value.encode() in path.read_bytes() for value in leaked) or (
            path.name == "plain.yaml"
        )


def key_of(project: Project) -> Path:
    return Path(project.env["SOPS_AGE_KEY_FILE"])


def refused(environment: Environment) -> str:
    with pytest.raises(SecretsError) as error:
        bundles.bundle_of(environment)
    shown = str(error.value)
    for value in scalars(yaml.safe_load(PLAIN)):
        assert len(value) < 6 or value not in shown
    assert "AGE-SECRET-KEY" not in shown
    return shown


def test_the_right_key_decrypts(dev: Environment) -> None:
    assert yaml.safe_load(bundles.bundle_of(dev)) == yaml.safe_load(PLAIN)


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
        machine_config.render(environment, environment.first_control_plane)
    assert "hunter2" not in str(error.value)
    return str(error.value)


def test_sops_patch_in_plain_text_is_not_used(project: Project, dev: Environment) -> None:
    project.patch("dev", "control_planes", "cp_1", PATCH, name="x.sops.yaml")
    path = "patches/envs/dev/control_planes/cp_1/x.sops.yaml"
    assert render_refused(environments.load("dev")).startswith(f"{path}: not encrypted")


def test_sops_patch_for_another_key(project: Project, dev: Environment) -> None:
    text = encrypted(PATCH, THEIRS.recipient, "secret.sops.yaml")
    project.patch("dev", "control_planes", "cp_1", text, name="x.sops.yaml")
    assert "x.sops.yaml: it is encrypted for other" in render_refused(environments.load("dev"))


def made(project: Project) -> set[str]:
    return {str(p.relative_to(project.root.parent)) for p in files_below(project.root.parent)}


def test_target_secrets_with_rules_for_other_keys_makes_nothing(
    project: Project, dev: Environment
) -> None:
    project.remove("secrets/dev.yaml")
    rules = create._rules(THEIRS.recipient)
    project.write(".sops.yaml", rules)
    before = made(project)
    with pytest.raises(SecretsError, match="it is encrypted for other age keys than yours"):
        create.make(dev, "own")
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
        create.make(dev, "own")
    assert "creation_rules in .sops.yaml" in error.value.hint
    assert made(project) == before


def other_rule(setting: str) -> str:
    """A rule for files of another kind that matches the bundle, too."""
    return f"creation_rules:\n  - age: {MINE.recipient}\n    {setting}\n"


def fixed(shown: str, rules: str) -> str:
    """The rules with the one that the error shows above the others."""
    lines = [line.removeprefix("  -> ") for line in shown.splitlines()]
    start = next(index for index, line in enumerate(lines) if "path_regex" in line)
    rule = "\n".join(lines[start : start + 2]).replace("RECIPIENTS", MINE.recipient)
    return rules.replace("creation_rules:\n", f"creation_rules:\n{rule}\n")


@pytest.mark.parametrize(
    "setting",
    [
        "encrypted_regex: ^(data|stringData)$",  # as Flux has it: nothing of a bundle
        "encrypted_regex: ^(crt|key|id)$",
        "encrypted_suffix: token",
        "unencrypted_regex: ^token$",
        "unencrypted_suffix: token",
        "encrypted_comment_regex: secret",
    ],
)
def test_target_secrets_makes_no_bundle_with_values_in_plain_text(
    project: Project, dev: Environment, setting: str
) -> None:
    project.remove("secrets/dev.yaml")
    project.write(".sops.yaml", other_rule(setting))
    before = made(project)
    with pytest.raises(SecretsError) as error:
        create.make(dev, "own")
    assert error.value.message == (
        "secrets/dev.yaml: not made: by its rule in .sops.yaml, sops leaves values in plain text "
        f"({setting})"
    )
    assert "Give such files a rule of their own in .sops.yaml, above all others" in error.value.hint
    assert made(project) == before

    project.write(".sops.yaml", fixed(str(error.value), project.read(".sops.yaml")))
    create.make(dev, "own")
    assert bundles.bundle_of(dev)


def test_throwaway_bundle_is_not_made_in_plain_text(project: Project, dev: Environment) -> None:
    project.environment("lab", "SIMULATED=true\n")
    project.node("lab", "control_planes", "cp_1", "127.0.9.11")
    project.write(".sops.yaml", other_rule("encrypted_regex: ^(data|stringData)$"))
    with pytest.raises(SecretsError, match=r"secrets/lab\.yaml: not made: by its rule in \.sops"):
        create.create_throwaway(environments.load("lab"))
    assert not (project.root / "secrets/lab.yaml").exists()


def test_bundle_with_values_in_plain_text_is_not_used(project: Project, dev: Environment) -> None:
    setting = "encrypted_regex: ^(data|stringData)$"
    project.write(".sops.yaml", other_rule(setting))
    dev.bundle.write_bytes(PLAIN)
    in_place = ("--in-place", "secrets/dev.yaml")
    assert project.run(BIN / "sops", "encrypt", *in_place).code == 0
    shown = refused(dev)
    assert shown.startswith(
        "secrets/dev.yaml: not wholly encrypted: it holds values in plain text "
        f"({setting})\n  -> Give such files a rule of their own in .sops.yaml"
    )
    assert "If it was ever pushed like this, also on a branch, its secrets are known" in shown
    for make in (partial(create.make, dev, "own"), partial(create.separate, dev)):
        with pytest.raises(SecretsError, match="not wholly encrypted"):
            make()

    project.write(".sops.yaml", fixed(shown, project.read(".sops.yaml")))
    assert "sops decrypt --in-place secrets/dev.yaml && sops encrypt --in-place secrets" in shown
    assert project.run(BIN / "sops", "decrypt", *in_place).code == 0
    assert project.run(BIN / "sops", "encrypt", *in_place).code == 0
    assert yaml.safe_load(bundles.bundle_of(dev)) == yaml.safe_load(PLAIN)


def test_patch_that_is_readable_in_part_is_used(project: Project, dev: Environment) -> None:
    project.write(".sops.yaml", other_rule("encrypted_regex: ^secret$"))
    path = "patches/envs/dev/control_planes/cp_1/x.sops.yaml"
    project.write(path, PATCH.replace("secret:", "plain: readable\n    secret:"))
    assert project.run(BIN / "sops", "encrypt", "--in-place", path).code == 0
    assert "plain: readable" in project.read(path)
    assert "hunter2" not in project.read(path)
    loaded = environments.load("dev")
    config = yaml.safe_load(
        machine_config.render(loaded, loaded.first_control_plane).split(b"\n---\n")[0]
    )
    assert config["machine"]["sysctls"] == {"plain": "readable", "secret": "hunter2hunter2"}


def test_target_secrets_keeps_a_bundle_it_cannot_decrypt(
    project: Project, dev: Environment
) -> None:
    key_of(project).write_bytes(THEIRS.identity)
    before = made(project)
    with pytest.raises(SecretsError, match="other age keys"):
        create.make(dev, "own")
    assert made(project) == before
    assert dev.bundle.read_bytes() == BUNDLE


def test_target_secrets_takes_the_key_that_is_there(project: Project, dev: Environment) -> None:
    project.remove("secrets/dev.yaml")
    create.make(dev, "own")
    assert key_of(project).read_bytes() == MINE.identity
    assert MINE.recipient in project.read(".sops.yaml")
    assert bundles.bundle_of(dev) != PLAIN
    assert dev.bundle.stat().st_mode & 0o077 == 0


SHARED = "patches/envs/dev/common.sops.yaml"


@pytest.fixture
def pull_request(dev: Environment, project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A checkout with an encrypted bundle and patch, and no key."""
    project.node("dev", "workers", "worker_1", "10.9.0.21")
    project.write(SHARED, encrypted(PATCH, THEIRS.recipient, SHARED))
    project.write(".gitignore", "/rendered_configs/\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        assert project.run("git", *who, *command).code == 0
    key_of(project).unlink()
    return project


def checked() -> str:
    """What is said of a pull request with secrets in plain text."""
    with pytest.raises(SecretsError) as error:
        check.check([environments.load("dev")], False)
    shown = str(error.value)
    assert "hunter2" not in shown
    assert not any(value in shown for value in scalars(yaml.safe_load(PLAIN)) if len(value) > 6)
    return shown


KNOWN = "If it was ever pushed like this, also on a branch, its secrets are known: make new ones"


def test_pull_request_with_all_encrypted_passes(pull_request: Project) -> None:
    check.check([environments.load("dev")], False)


def test_pull_request_with_a_patch_in_plain_text(pull_request: Project) -> None:
    pull_request.write(SHARED, PATCH)
    shown = checked()
    assert shown.startswith(f"{SHARED}: not encrypted (it holds no sops metadata)\n")
    assert f"sops encrypt --in-place {SHARED}" in shown
    assert KNOWN in shown


def test_pull_request_with_secrets_in_files_that_are_not_to_be_encrypted(
    pull_request: Project,
) -> None:
    key = "2Iq1SWzW1tMdXnKxr4iRhrKrXpVg" + "+4tqFzkpvj9S8Gs="
    patch = (
        "apiVersion: v1alpha1\nkind: WireguardConfig\nname: wg0\naddresses: []\n"
        f"peers:\n  - {{publicKey: {key}, presharedKey: {key}}}\nprivateKey: {key}\n"
    )
    pull_request.write("patches/envs/dev/workers/common.yaml", patch)
    facts = pull_request.read("patches/envs/dev/control_planes/cp_1/node.env")
    pull_request.write(
        "patches/envs/dev/control_planes/cp_1/node.env", f"{facts}TS_AUTHKEY=hunter2\n"
    )
    shown = checked()
    found = (
        "patches/envs/dev/control_planes/cp_1/node.env:2: holds a secret (TS_AUTHKEY)\n"
        "patches/envs/dev/workers/common.yaml:6: holds a WireGuard key\n"
        "patches/envs/dev/workers/common.yaml:7: holds a WireGuard key\n"
    )
    assert found in shown
    assert "git mv X.yaml X.sops.yaml" in shown
    assert key not in shown


def test_pull_request_with_a_bundle_in_plain_text(pull_request: Project, dev: Environment) -> None:
    dev.bundle.write_bytes(PLAIN)
    shown = checked()
    dev.bundle.unlink()
    assert shown.startswith("secrets/dev.yaml: not encrypted (it holds no sops metadata)\n")
    assert KNOWN in shown


def test_pull_request_with_a_patch_that_sops_left_as_it_is(pull_request: Project) -> None:
    pull_request.write(".sops.yaml", other_rule("encrypted_regex: ^(data|stringData)$"))
    pull_request.write(SHARED, PATCH)
    assert pull_request.run(BIN / "sops", "encrypt", "--in-place", SHARED).code == 0
    shown = checked()
    assert shown.startswith(f"{SHARED}: not wholly encrypted: it holds values in plain text (enc")
    assert "  - path_regex: \\.sops\\.yaml$\n" in shown
    assert KNOWN in shown


def test_pull_request_with_a_document_added_in_plain_text(pull_request: Project) -> None:
    pull_request.write(SHARED, f"{pull_request.read(SHARED)}---\n{PATCH}")
    shown = checked()
    assert shown.startswith(f"{SHARED}: not wholly encrypted: it holds values in plain text\n")
    assert f"change encrypted files only with: sops edit {SHARED}" in shown
    assert KNOWN in shown


def test_all_that_a_pull_request_shows_is_said(pull_request: Project, dev: Environment) -> None:
    dev.bundle.write_bytes(PLAIN)
    pull_request.write(SHARED, PATCH)
    pull_request.patch("dev", "workers", "worker_1", "machine:\n  instal: {}\n")
    with pytest.raises(ValidationError) as error:
        check.check([environments.load("dev")], False)
    dev.bundle.unlink()
    said = str(error.value)
    assert said.count("not encrypted") == 2
    assert f"{SHARED}: not encrypted" in said
    assert "secrets/dev.yaml: not encrypted" in said
    assert "node.yaml: talosctl refuses it" in said
