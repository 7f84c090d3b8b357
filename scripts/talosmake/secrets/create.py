"""Making age key, .sops.yaml and bundle; nothing else makes any, and nothing is written over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from talosmake.base import files, git
from talosmake.base.errors import SecretsError
from talosmake.base.progress import say
from talosmake.inventory.locks import secrets_lock
from talosmake.inventory.model import Environment
from talosmake.inventory.places import SECRETS, SHARED_BUNDLE, SOPS_RULES, own_bundle
from talosmake.secrets import age, sops
from talosmake.secrets.bundles import bundle_in, configured_key_file, key_file
from talosmake.talos import generate


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
        bundle_in(present)
        return Created(present)
    return _create_bundle(environment, bundle)


def create_own(environment: Environment) -> Created:
    """Make the environment a bundle of its own although a shared one serves it now.

    :raises SecretsError: when the environment was deployed with the shared one already.
    """
    bundle = own_bundle(environment.name)
    if bundle.exists():
        bundle_in(bundle)
        return Created(bundle)
    return _create_bundle(environment, bundle)


def _new_secrets(environment: Environment) -> bytes:
    cluster = environment.cluster
    return generate.gen_secrets(cluster.talos_contract, cluster.talosctl)


def _create_bundle(environment: Environment, bundle: Path) -> Created:
    _refuse_if_deployed(environment, bundle)
    new_key, new_rules = _ensure_recipients()
    ciphertext = sops.encrypt(_new_secrets(environment), bundle)
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
    if SOPS_RULES.exists():
        return None, False
    identity, new_key = _identity()
    rules = _rules(age.recipient_of(identity))
    return new_key, files.create_exclusively(SOPS_RULES, rules) and _readable(SOPS_RULES)


def _readable(path: Path) -> bool:
    path.chmod(0o644)
    return True


def _identity() -> tuple[bytes, Path | None]:
    """The configured age identity; where none is configured, a new one and its file."""
    if os.environ.get("SOPS_AGE_KEY"):
        return os.environ["SOPS_AGE_KEY"].encode(), None
    path = configured_key_file()
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
                hint=f"Bring the key back, or remove {bundle} to have both made again "
                "(the nodes then have to be started afresh).",
            )
        return False
    if not key.exists():
        files.create_exclusively(key, age.new_key().identity)
    recipient = age.recipient_of(key.read_bytes())
    secrets = _new_secrets(environment)
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
        lines.append(f"  made {SOPS_RULES}, which says who can decrypt")
    if not environment.cluster.throwaway:
        key = created.new_key or "your age key"
        lines += [
            f"  Back up {key} now, away from this machine and not in Git: without it nobody can "
            "decrypt the bundle, and without the bundle the cluster is lost.",
            f"  Commit {created.bundle} and {SOPS_RULES}.",
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
    return SECRETS / f".{environment.name}.made"


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
