"""The secrets of an environment: its Talos secrets bundle and its encrypted patches.

Plaintext is held in memory and handed to talosctl through pipes; it is never a file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import cache
from pathlib import Path

import yaml

from talosmake.base.errors import SecretsError
from talosmake.base.redact import pem_lines, scalars
from talosmake.base.this_run import Memo
from talosmake.inventory.model import Environment
from talosmake.inventory.places import SECRETS, SHARED_BUNDLE, own_bundle
from talosmake.secrets import sops

# What `talosctl gen secrets` writes for every contract that is supported.
_REQUIRED = (
    "cluster.id",
    "cluster.secret",
    "secrets.bootstraptoken",
    "trustdinfo.token",
    "certs.etcd.crt",
    "certs.etcd.key",
    "certs.k8s.crt",
    "certs.k8s.key",
    "certs.k8saggregator.crt",
    "certs.k8saggregator.key",
    "certs.k8sserviceaccount.key",
    "certs.os.crt",
    "certs.os.key",
)

_decrypted: Memo[bytes, bytes] = Memo("what a ciphertext decrypts to")


def key_file(environment: Environment) -> Path | None:
    """The age key of nodes on this machine alone; None for all others, which use sops's."""
    return SECRETS / f"{environment.name}.agekey" if environment.cluster.throwaway else None


def age_key_file(environment: Environment) -> Path:
    """The file with the age key that decrypts an environment's secrets here, if it is in one."""
    return key_file(environment) or configured_key_file()


def missing_bundle(environment: Environment) -> SecretsError:
    """The error for an environment that no bundle serves."""
    return SecretsError(
        f"{environment.name}: there is no secrets bundle: neither {own_bundle(environment.name)} "
        f"nor {SHARED_BUNDLE} is there",
        hint="For a new cluster, make one:  snakemake secrets --config "
        f"env={environment.name}\n"
        "For a cluster that already runs, restore the file from Git or your backup; a new bundle "
        "would be a new cluster.",
    )


def bundle_of(environment: Environment) -> bytes:
    """The decrypted bundle, decrypted once a process.

    :raises SecretsError: when it is missing, not wholly encrypted, not to be decrypted, or no
        bundle.
    """
    if environment.stand_in:
        return environment.stand_in
    if not environment.bundle.exists():
        raise missing_bundle(environment)
    bundle = bundle_in(environment.bundle, key_file(environment))
    _check_bundle(environment.bundle, bundle)
    return bundle


def bundle_in(path: Path, key: Path | None = None) -> bytes:
    """Decrypt a file of which sops must have encrypted every value."""
    ciphertext = _read(path)
    plaintext = _decrypt_once(ciphertext, path, key)
    _check_encrypted(path, ciphertext)
    return plaintext


@cache
def _check_encrypted(path: Path, ciphertext: bytes) -> None:
    sops.refuse_plain_text(ciphertext, path)


def plaintext_of(path: Path, key: Path | None = None) -> bytes:
    """Decrypt a patch, once a process for the same content.

    What sops was told to leave readable in it may be so; ``check_secrets`` looks at it.
    """
    return _decrypt_once(_read(path), path, key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecretsError(f"{path}: cannot be read: {error.strerror}") from None


def _decrypt_once(ciphertext: bytes, path: Path, key: Path | None) -> bytes:
    return _decrypted.of(ciphertext, lambda: sops.decrypt(ciphertext, path, key))


def secret_values(bundle: bytes) -> list[str]:
    """The values in a bundle, as they are written and as configs have them, for messages.

    :raises SecretsError: when it is no YAML, so that nobody can say what is secret.
    """
    try:
        values = list(scalars(list(yaml.load_all(bundle, Loader=yaml.BaseLoader))))
    except yaml.YAMLError:
        raise SecretsError("the secrets bundle is no YAML") from None
    return [*values, *(line for value in values for line in pem_lines(value))]


def seal(environment: Environment, content: bytes) -> str:
    """A digest of the content that only those can make, or check, who have the bundle."""
    bundle = yaml.safe_load(bundle_of(environment))
    parts = ("talosmake artifact", bundle["cluster"]["secret"], bundle["certs"]["os"]["key"])
    key = hashlib.sha256("\n".join(parts).encode()).digest()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def identities(environment: Environment) -> list[bytes]:
    """The age keys of all places where sops looks for them.

    :raises SecretsError: when one that is named cannot be read.
    """
    found = [os.environ[name].encode() for name in ("SOPS_AGE_KEY",) if os.environ.get(name)]
    named, own = os.environ.get("SOPS_AGE_KEY_FILE"), key_file(environment)
    candidates = [_default_key_file(), *([own] if own else [])]
    paths = [path for path in candidates if path.exists()]
    # Nodes on this machine alone need no other key than their own.
    if named and (Path(named).exists() or not own):
        paths.append(Path(named))
    try:
        return found + [path.read_bytes() for path in paths]
    except OSError as error:
        raise SecretsError(f"{error.filename}: cannot be read: {error.strerror}") from None


@cache
def _check_bundle(path: Path, bundle: bytes) -> None:
    try:
        document = yaml.safe_load(bundle)
    except yaml.YAMLError:
        raise SecretsError(f"{path}: what it decrypts to is no YAML") from None
    absent = [key for key in _REQUIRED if not _at(document, key)]
    if absent:
        raise SecretsError(
            f"{path}: no complete Talos secrets bundle: {', '.join(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} missing",
            hint="Restore the file from Git or your backup. "
            "A bundle is what 'talosctl gen secrets' writes, encrypted with sops.",
        )


def _at(document: object, dotted: str) -> object:
    for key in dotted.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def configured_key_file() -> Path:
    """Where sops looks for age keys (sops docs: Encrypting using age)."""
    if named := os.environ.get("SOPS_AGE_KEY_FILE"):
        return Path(named)
    return _default_key_file()


def _default_key_file() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "sops" / "age" / "keys.txt"
