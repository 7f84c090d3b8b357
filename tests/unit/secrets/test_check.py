"""Finding secrets in plain text; and there are none in this repository."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from talosmake.base import blobs
from talosmake.secrets import age, check
from talosmake.talos import generate
from tests.project import REPOSITORY, encrypted


def test_nothing_secret_is_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert len(blobs.tracked()) > 50
    assert check.main([]) == 0


def test_finds_a_bundle_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(generate.gen_secrets("v1.13"))
    found = "\n".join(check.findings(path))
    assert "holds a private key in base64" in found
    assert f"{path}:5: holds a Talos token" in found


@pytest.mark.parametrize("kind", ["RSA ", "EC ", "ED25519 ", ""])
def test_finds_private_keys(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.txt"
    pem = f"-----BEGIN {kind}" + "PRIVATE KEY-----\n"
    path.write_text("\n" + pem)
    assert list(check.findings(path)) == [f"{path}:2: holds a private key"]
    path.write_bytes(b64encode(pem.encode()))
    assert list(check.findings(path)) == [f"{path}:1: holds a private key in base64"]


def test_finds_age_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("AGE-SECRET-" + "KEY-1" + "Q" * 58)
    assert list(check.findings(path)) == [f"{path}:1: holds an age secret key"]


@pytest.mark.parametrize("name", ["secrets/prod.yaml", "patches/wireguard.sops.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        *("a: b\n", "a: b\nsops: {mac: x}\n", "a: [ENC[x], plain]\nsops: {mac: x}\n"),
        *("sops: [\n", "", "a: ENC[x]\n", "a: ENC[x]\nsops: {}\n", "a: ENC[x]\nsops: mac\n"),
        *("a: 5\nsops: {mac: x}\n", "a: {b: true}\nsops: {mac: x}\n"),
        "a: plain\na: ENC[x]\nsops: {mac: x}\n",
        # The second document of a file was put there by hand, whole or without its metadata.
        "a: ENC[x]\nsops: {mac: x}\n---\na: plain\n",
        "a: ENC[x]\nsops: {mac: x}\n---\na: plain\nsops: {mac: x}\n",
        "a: ENC[x]\nsops: {mac: x}\n---\na: ENC[x]\n",
    ],
)
def test_finds_files_that_should_be_encrypted(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(text)
    assert any("is not encrypted" in finding for finding in check.findings(path))


def test_rules_of_sops_pass(tmp_path: Path) -> None:
    path = tmp_path / ".sops.yaml"
    path.write_text("creation_rules:\n  - age: age1qqq\n")
    assert list(check.findings(path)) == []


def test_encrypted_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "x.sops.yaml"
    path.write_text("a: ENC[AES256_GCM,data:x]\nsops:\n  mac: ENC[x]\n")
    assert list(check.findings(path)) == []


_PATCH = """\
# The puller's password
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: registry.example.org
username: ""
password: hunter2hunter2
"""
_SECOND = """\
---
apiVersion: v1alpha1
kind: WireguardConfig
privateKey: hunter2hunter2
listenPort: 51820
up: true
mtu: 1.5
peers:
  - {endpoint: null, presharedKey: "", allowedIPs: []}
  -
since: 2026-01-01
"""


@pytest.mark.parametrize("text", [_PATCH, _PATCH + _SECOND], ids=["one document", "two documents"])
def test_what_sops_encrypts_passes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.sops.yaml"
    path.write_text(encrypted(text, age.new_key().recipient, path.name))
    assert "hunter2" not in path.read_text()
    assert list(check.findings(path)) == []
    path.write_text(path.read_text().replace('""', "hunter2hunter2"))
    assert any("is not encrypted" in finding for finding in check.findings(path))
