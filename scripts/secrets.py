"""The secrets of an environment: its Talos secrets bundle and its encrypted patches.

Plaintext is held in memory and handed to talosctl through pipes; it is never a file. Nothing here
makes a bundle but :func:`create` and :func:`create_throwaway`, and neither writes over anything.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from scripts import age, files, git, sops, talosctl
from scripts.errors import SecretsError
from scripts.locks import secrets_lock
from scripts.model import Environment
from scripts.progress import say
from scripts.redact import scalars

DIRECTORY = Path("secrets")
SHARED_BUNDLE = DIRECTORY / "secrets.yaml"
RULES = Path(".sops.yaml")

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

_decrypted: dict[bytes, bytes] = {}
_decrypting = threading.Lock()


def own_bundle(environment: str) -> Path:
    """Where an environment's own bundle stands, if it has one."""
    return DIRECTORY / f"{environment}.yaml"


def key_file(environment: Environment) -> Path | None:
    """The age key of nodes on this machine alone; None for all others, which use sops's."""
    return DIRECTORY / f"{environment.name}.agekey" if environment.cluster.throwaway else None


def age_key_file(environment: Environment) -> Path:
    """The file with the age key that decrypts an environment's secrets here, if it is in one."""
    return key_file(environment) or _configured_key_file()


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
    bundle = _bundle_in(environment.bundle, key_file(environment))
    _check_bundle(environment.bundle, bundle)
    return bundle


def _bundle_in(path: Path, key: Path | None = None) -> bytes:
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
    with _decrypting:
        if ciphertext not in _decrypted:
            _decrypted[ciphertext] = sops.decrypt(ciphertext, path, key)
        return _decrypted[ciphertext]


def secret_values(bundle: bytes) -> list[str]:
    """The values in a bundle as they are written, to be kept out of messages.

    :raises SecretsError: when it is no YAML, so that nobody can say what is secret.
    """
    try:
        return list(scalars(list(yaml.load_all(bundle, Loader=yaml.BaseLoader))))
    except yaml.YAMLError:
        raise SecretsError("the secrets bundle is no YAML") from None


def fingerprint(environment: Environment) -> str:
    """A short digest that tells bundles apart and reveals nothing: of the public Talos API CA."""
    crt = yaml.safe_load(bundle_of(environment))["certs"]["os"]["crt"]
    return hashlib.sha256(crt.encode()).hexdigest()[:16]


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


@dataclass(frozen=True)
class Created:
    """What the ``secrets`` target did.

    :ivar bundle: the bundle that serves the environment now.
    :ivar new_bundle: it was made just now.
    :ivar new_key: the key file that was made just now, if any.
    :ivar new_rules: .sops.yaml was made just now.
    """

    bundle: Path
    new_bundle: bool = False
    new_key: Path | None = None
    new_rules: bool = False


def create(environment: Environment, *, shared: bool = False) -> Created:
    """Make what is missing of key, .sops.yaml and bundle; write over nothing.

    :param shared: make the bundle for all environments that have none of their own.
    :raises SecretsError: when a cluster was deployed with a bundle that is gone, when .sops.yaml
        names recipients but none of your keys is there or leaves values in plain text, or sops or
        age refuse.
    """
    if environment.cluster.throwaway:
        new = create_throwaway(environment)
        return Created(environment.bundle, new, key_file(environment) if new else None)
    bundle = SHARED_BUNDLE if shared else own_bundle(environment.name)
    present = next((b for b in (own_bundle(environment.name), SHARED_BUNDLE) if b.exists()), None)
    if present is not None:
        _bundle_in(present)
        return Created(present)
    return _create_bundle(environment, bundle)


def create_own(environment: Environment) -> Created:
    """Make the environment a bundle of its own although a shared one serves it now.

    :raises SecretsError: when the environment was deployed with the shared one already.
    """
    bundle = own_bundle(environment.name)
    if bundle.exists():
        _bundle_in(bundle)
        return Created(bundle)
    return _create_bundle(environment, bundle)


def _create_bundle(environment: Environment, bundle: Path) -> Created:
    _refuse_if_deployed(environment, bundle)
    new_key, new_rules = _ensure_recipients()
    ciphertext = sops.encrypt(talosctl.gen_secrets(environment.cluster.talos_contract), bundle)
    # What cannot be read back is found out now, before there is a file, and not when it is needed.
    sops.decrypt(ciphertext, bundle)
    new = files.create_exclusively(bundle, ciphertext)
    return Created(bundle, new, new_key, new_rules)


def _refuse_if_deployed(environment: Environment, bundle: Path) -> None:
    paths = environment.paths
    markers = [
        paths.bootstrapped,
        *(paths.applied(node) for node in environment.nodes),
        *(paths.machine_of(node) for node in environment.nodes),
    ]
    deployed = next((marker for marker in markers if marker.exists()), None)
    if deployed is not None:
        raise SecretsError(
            f"{bundle}: not made, because {environment.name} was deployed with another bundle "
            f"({deployed} says so); a new one would be a new cluster",
            hint="Restore the old bundle from Git or your backup.\n"
            "If the cluster is gone for good, remove "
            f"{paths.root} and run this again.",
        )


def _ensure_recipients() -> tuple[Path | None, bool]:
    """Make the age key and .sops.yaml where there are none.

    :returns: the key file if one was made, and whether .sops.yaml was made.
    """
    if RULES.exists():
        return None, False
    identity, new_key = _identity()
    rules = _rules(age.recipient_of(identity))
    return new_key, files.create_exclusively(RULES, rules) and _readable(RULES)


def _readable(path: Path) -> bool:
    path.chmod(0o644)
    return True


def _identity() -> tuple[bytes, Path | None]:
    """The configured age identity; where none is configured, a new one and its file."""
    if os.environ.get("SOPS_AGE_KEY"):
        return os.environ["SOPS_AGE_KEY"].encode(), None
    path = _configured_key_file()
    files.remove_leftover(path)
    try:
        return path.read_bytes(), None
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SecretsError(f"{path}: cannot be read: {error.strerror}") from None
    _keep_out_of_git(path)
    pair = age.new_key()
    if not files.create_exclusively(path, pair.identity):
        return path.read_bytes(), None
    return pair.identity, path


def _keep_out_of_git(*paths: Path) -> None:
    for path in paths:
        if git.would_take(path):
            files.ignore(path)


def _configured_key_file() -> Path:
    """Where sops looks for age keys (sops docs: Encrypting using age)."""
    if named := os.environ.get("SOPS_AGE_KEY_FILE"):
        return Path(named)
    return _default_key_file()


def _default_key_file() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "sops" / "age" / "keys.txt"


def _rules(recipient: str) -> str:
    return (
        "# Who can decrypt: age recipients (public keys), separated by commas.\n"
        "# To let somebody in, add theirs and run: sops updatekeys FILE, for each encrypted file.\n"
        "# To let somebody out, take theirs away and run: snakemake rekey --config env=all\n"
        "creation_rules:\n"
        f"  - path_regex: {sops.BUNDLES}\n"
        f"    age: {recipient}\n"
        f"  - path_regex: {sops.PATCHES}\n"
        f"    age: {recipient}\n"
    )


def create_throwaway(environment: Environment) -> bool:
    """Make key and bundle for nodes on this machine, in files that Git ignores; never over others.

    :returns: whether they were made now.
    :raises SecretsError: when only one of the two is there, which is a mistake to look at.
    """
    key = key_file(environment)
    if key is None:
        raise SecretsError(f"{environment.name}: is no environment on this machine alone")
    files.remove_leftover(key)
    bundle = environment.bundle
    _keep_out_of_git(key, bundle, throwaway_marker(environment))
    if bundle.exists():
        if not key.exists():
            raise SecretsError(
                f"{bundle} is there, but its key {key} is not",
                hint=f"Bring the key back, or remove {bundle} to have both made anew "
                "(the nodes then have to be started afresh).",
            )
        return False
    if not key.exists():
        files.create_exclusively(key, age.new_key().identity)
    recipient = age.recipient_of(key.read_bytes())
    secrets = talosctl.gen_secrets(environment.cluster.talos_contract)
    return files.create_exclusively(bundle, sops.encrypt(secrets, bundle, recipient))


def make(environment: Environment, which: str) -> None:
    """The target ``secrets``: :func:`create`, and tell what to keep.

    :param which: ``own`` or ``shared``: the bundle to make where none serves the environment.
    """
    with secrets_lock():
        created = create(environment, shared=which == "shared")
    if not created.new_bundle:
        say(f"{environment.name}: {created.bundle} is there already and can be decrypted; kept")
        return
    lines = [f"{environment.name}: made {created.bundle}, encrypted"]
    if created.new_key:
        lines.append(f"  made the age key {created.new_key}")
    if created.new_rules:
        lines.append(f"  made {RULES}, which says who can decrypt")
    if not environment.cluster.throwaway:
        key = created.new_key or "your age key"
        lines += [
            f"  Back up {key} now, away from this machine and not in Git: without it nobody can "
            "decrypt the bundle, and without the bundle the cluster is lost.",
            f"  Commit {created.bundle} and {RULES}.",
        ]
    say("\n".join(lines))


def separate(environment: Environment) -> None:
    """The target ``separate_secrets``: :func:`create_own`, and tell what was done."""
    with secrets_lock():
        created = create_own(environment)
    made = "made" if created.new_bundle else "there already:"
    say(f"{environment.name}: {made} {created.bundle}; it serves this environment alone")


def throwaway_marker(environment: Environment) -> Path:
    """The marker that the secrets of an environment on this machine alone were made."""
    return DIRECTORY / f".{environment.name}.made"


def throwaway_lost(environment: Environment) -> bool:
    """Whether the marker is there and what it stands for is not."""
    return throwaway_marker(environment).exists() and not environment.bundle.exists()


def make_throwaway(environment: Environment) -> None:
    """:func:`create_throwaway`, and the marker with the bundle's digest."""
    with secrets_lock():
        create_throwaway(environment)
    digest = files.sha256_of(environment.bundle)
    files.private_directory(throwaway_marker(environment).parent)
    files.write_atomically(throwaway_marker(environment), digest + "\n")
