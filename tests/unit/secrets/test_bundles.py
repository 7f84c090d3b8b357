"""Decisions about secrets. What sops and age refuse is in tests/errors."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from talosmake.base.errors import SecretsError
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.secrets import bundles, create, sops
from talosmake.talos import generate
from tests.project import Project


@pytest.fixture
def dev(small: Project) -> Environment:
    return environments.load("dev")


@pytest.fixture
def lab(small: Project) -> Environment:
    small.environment("lab", "SIMULATED=true\n")
    small.node("lab", "control_planes", "cp_1", "127.0.9.11")
    return environments.load("lab")


@pytest.fixture
def _no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: object) -> bytes:
        raise AssertionError("a bundle must not be made")

    monkeypatch.setattr(generate, "gen_secrets", called)
    monkeypatch.setattr(sops, "encrypt", called)
    monkeypatch.setattr(sops, "decrypt", called)


def test_missing_bundle_says_how_to_make_or_restore_it(dev: Environment) -> None:
    with pytest.raises(SecretsError) as error:
        bundles.bundle_of(dev)
    assert error.value.message == (
        "dev: there is no secrets bundle: neither secrets/dev.yaml nor secrets/secrets.yaml "
        "is there"
    )
    assert "snakemake secrets --config env=dev" in error.value.hint
    assert "restore" in error.value.hint


def test_only_simulated_environments_have_a_key_of_their_own(
    dev: Environment, lab: Environment
) -> None:
    assert bundles.key_file(dev) is None
    assert bundles.key_file(lab) == Path("secrets/lab.agekey")


@pytest.mark.usefixtures("_no_tools")
@pytest.mark.parametrize("marker", ["bootstrapped", "controlplane-cp_1.applied"])
@pytest.mark.parametrize("make", [create.create, create.create_own])
def test_deployed_environment_gets_no_other_bundle(
    small: Project, dev: Environment, marker: str, make: object
) -> None:
    small.write(f"rendered_configs/dev/state/{marker}", "{}")
    assert callable(make)
    with pytest.raises(SecretsError, match="dev was deployed with another bundle") as error:
        make(dev)
    assert "Restore the old bundle" in error.value.hint
    assert not (small.root / "secrets").exists()


@pytest.mark.usefixtures("_no_tools")
def test_bundle_of_simulated_nodes_without_its_key_is_left_alone(
    small: Project, lab: Environment
) -> None:
    small.write("secrets/lab.yaml", "x")
    with pytest.raises(SecretsError, match=r"lab\.yaml is there, but its key secrets/lab\.agekey"):
        create.create_throwaway(lab)
    assert small.read("secrets/lab.yaml") == "x"


@pytest.mark.usefixtures("_no_tools")
def test_throwaway_secrets_are_not_for_real_machines(dev: Environment) -> None:
    with pytest.raises(SecretsError, match="no environment on this machine alone"):
        create.create_throwaway(dev)


def test_lost_throwaway_secrets_are_noticed(small: Project, lab: Environment) -> None:
    assert not create.throwaway_lost(lab)
    small.write("secrets/.lab.made", "digest\n")
    assert create.throwaway_lost(lab)
    small.write("secrets/lab.yaml", "x")
    assert not create.throwaway_lost(lab)


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"SOPS_AGE_KEY_FILE": "/k", "XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/k"),
        ({"SOPS_AGE_KEY_FILE": "", "XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/sops/age/keys.txt"),
        ({"SOPS_AGE_KEY_FILE": "", "HOME": "/h"}, "/h/.config/sops/age/keys.txt"),
    ],
)
def test_key_is_where_sops_looks(
    here: Project, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], path: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert bundles.configured_key_file() == Path(path)


def test_made_rules_cover_bundles_and_encrypted_patches() -> None:
    rules = yaml.safe_load(create._rules("age1xyz"))["creation_rules"]
    assert [rule["age"] for rule in rules] == ["age1xyz", "age1xyz"]
    assert [rule["path_regex"] for rule in rules] == [
        r"(^|/)secrets/[^/]+\.yaml$",
        r"\.sops\.yaml$",
    ]


def complete() -> dict[str, object]:
    document: dict[str, object] = {}
    for dotted in bundles._REQUIRED:
        *above, last = dotted.split(".")
        level = document
        for key in above:
            below = level.setdefault(key, {})
            assert isinstance(below, dict)
            level = below
        level[last] = "hunter2hunter2"
    return document


def decrypting(monkeypatch: pytest.MonkeyPatch, dev: Environment, plaintext: bytes) -> None:
    dev.bundle.parent.mkdir()
    name = sha256(plaintext).hexdigest()
    dev.bundle.write_text(f"of: ENC[{name}]\nsops: {{mac: x}}\n")
    monkeypatch.setattr(sops, "decrypt", lambda *_: plaintext)


def test_complete_bundle_is_decrypted_once(
    dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plaintext = yaml.safe_dump(complete()).encode()
    decrypting(monkeypatch, dev, plaintext)
    assert bundles.bundle_of(dev) == plaintext
    monkeypatch.setattr(sops, "decrypt", lambda *_: b"again")
    assert bundles.bundle_of(dev) == plaintext


@pytest.mark.parametrize("lacking", bundles._REQUIRED)
def test_incomplete_bundle_names_what_is_missing(
    dev: Environment, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    document = complete()
    *above, last = lacking.split(".")
    level = document
    for key in above:
        below = level[key]
        assert isinstance(below, dict)
        level = below
    level[last] = ""
    decrypting(monkeypatch, dev, yaml.safe_dump(document).encode())
    with pytest.raises(SecretsError, match=f"bundle: {lacking} is missing") as error:
        bundles.bundle_of(dev)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("plaintext", [b"", b"[]", b"text", b"a: [", b"machine: {}"])
def test_what_is_no_bundle_is_refused(
    dev: Environment, monkeypatch: pytest.MonkeyPatch, plaintext: bytes
) -> None:
    decrypting(monkeypatch, dev, plaintext)
    with pytest.raises(SecretsError, match=r"secrets/dev\.yaml: (no complete|.* is no YAML)"):
        bundles.bundle_of(dev)


def test_secret_values_are_as_they_are_written() -> None:
    plaintext = b"a: {b: [hunter2]}\nc: 0123456\nd: 2026-01-01\n---\ne: 1e10\n"
    assert bundles.secret_values(plaintext) == ["hunter2", "0123456", "2026-01-01", "1e10"]
    with pytest.raises(SecretsError, match="is no YAML") as error:
        bundles.secret_values(b"a: [hunter2")
    assert "hunter2" not in str(error.value)
