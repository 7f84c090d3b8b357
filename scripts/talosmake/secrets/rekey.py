"""Letting people out of the secrets: every file is encrypted again, for those in .sops.yaml alone.

``sops updatekeys`` changes whom a file's data key is encrypted for, and keeps that key: who had it
reads every later version of the file. So each file gets a new one here, as ``sops rotate`` makes
it, and the recipients of its rule in .sops.yaml in the same step. Plaintext goes through pipes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from talosmake.base import files
from talosmake.base.errors import SecretsError
from talosmake.base.progress import say, warn
from talosmake.inventory import places
from talosmake.inventory.model import Environment
from talosmake.secrets import encrypted, sops

_ALL = "snakemake rekey --config env=all"


@dataclass(frozen=True)
class Rekeyed:
    """A file as it will be.

    :ivar out: who could decrypt it until now, and cannot any more.
    :ivar into: who can decrypt it.
    """

    path: Path
    ciphertext: bytes
    out: frozenset[str]
    into: frozenset[str]


def files_of(environments: Sequence[Environment]) -> list[Path]:
    """The bundles and encrypted patches of these environments, throw-away ones left out."""
    lasting = [one for one in environments if not one.cluster.throwaway]
    paths = {one.bundle for one in lasting if one.bundle.exists()}
    for one in lasting:
        paths |= {
            path for node in one.nodes for path in node.patches if path.name.endswith(".sops.yaml")
        }
    return sorted(paths)


def others(chosen: Sequence[Path]) -> Iterator[Path]:
    """What else is encrypted here, below secrets/ and patches/."""
    found = [*places.SECRETS.glob("*.y*ml"), *Path("patches").rglob("*.sops.y*ml")]
    for path in sorted(set(found) - set(chosen)):
        throwaway = path.with_suffix(".agekey").exists()
        if path.is_file() and not throwaway and encrypted.metadata(path.read_bytes()):
            yield path


def rekey(environments: Sequence[Environment], *, everything: bool) -> None:
    """The target ``rekey``: all files, or none of them, and tell who is out and what is left to do.

    Nothing is written before all of them were encrypted and decrypted again. Interrupted while
    they are written, each is whole, old or new; the same command does them again.

    :param everything: also what no environment uses.
    :raises SecretsError: when there is no .sops.yaml or no file, a file cannot be decrypted, its
        rule does not fit, or what it holds would not be the same.
    """
    if not places.SOPS_RULES.exists():
        raise SecretsError(
            f"there is no {places.SOPS_RULES}, which says who can decrypt",
            hint="Write one with the recipients that stay; docs/secrets.md shows it.",
        )
    chosen = files_of(environments)
    left = list(others(chosen))
    if everything:
        chosen, left = [*chosen, *left], []
    if not chosen:
        raise SecretsError("there is no encrypted file to rekey")
    done = [_anew(path) for path in chosen]
    for one in done:
        # Where a link leads, and for all who could read it.
        place = one.path.resolve()
        files.write_atomically(place, one.ciphertext, stat.S_IMODE(place.stat().st_mode))
    say("\n".join(_told(done)))
    still = _still_open(left, frozenset().union(*(one.out for one in done)))
    if still:
        warn("\n".join(still))


def _anew(path: Path) -> Rekeyed:
    """Encrypt a file's content with a new data key, and see that it can be read back."""
    old = path.read_bytes()
    plaintext = sops.decrypt(old, path)
    new = sops.encrypt(plaintext, path)
    if sops.decrypt(new, path) != plaintext:
        raise SecretsError(f"{path}: would not hold the same after it was encrypted again; kept")
    before, after = encrypted.recipients(old), encrypted.recipients(new)
    return Rekeyed(path, new, before - after, after)


def _told(done: Sequence[Rekeyed]) -> Iterator[str]:
    for one in done:
        out = f"; no longer for {', '.join(sorted(one.out))}" if one.out else ""
        yield f"{one.path}: new data key, for {', '.join(sorted(one.into))}{out}"
    if not any(one.out for one in done):
        yield (
            f"Nobody was let out: take the recipient out of {places.SOPS_RULES}, "
            "then run this again."
        )
        return
    yield (
        "Commit these files. Who was let out knows what they held until now, and finds it in older "
        "commits.\nNew have to be, too (docs/secrets.md, Let somebody out): the cluster's CAs and "
        "tokens, and with them\nall talosconfigs and kubeconfigs; passwords, WireGuard keys and "
        "the like in encrypted patches."
    )


def _still_open(left: Sequence[Path], out: frozenset[str]) -> list[str]:
    """Files of others that those who were let out can still decrypt."""
    held = [path for path in left if encrypted.recipients(path.read_bytes()) & out]
    lines = [f"{path}: can still be decrypted by who was let out" for path in held]
    return [*lines, f"  -> {_ALL}"] if held else []
