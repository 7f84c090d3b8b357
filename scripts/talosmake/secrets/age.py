"""The one module that calls age and age-keygen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from talosmake.base.errors import SecretsError, ToolError
from talosmake.base.process import piped, run
from talosmake.base.tools import AGE, AGE_KEYGEN, require


@dataclass(frozen=True)
class KeyPair:
    """An age identity: the text of its key file, and the recipient to encrypt for."""

    identity: bytes
    recipient: str


def new_key() -> KeyPair:
    """Make a new identity."""
    identity = _keygen(b"")
    return KeyPair(identity, recipient_of(identity))


def recipient_of(identity: bytes) -> str:
    """The first recipient of a key file's text.

    :raises SecretsError: when the text holds no age identity.
    """
    try:
        return _keygen(identity, "-y").decode().split()[0]
    except (ToolError, IndexError):
        raise SecretsError("the key file holds no age identity") from None


def encrypt(plaintext: bytes, recipients: Sequence[str]) -> bytes:
    """Encrypt for all of the recipients; different bytes each time.

    :raises SecretsError: when age knows one of them not for a recipient.
    """
    require(AGE)
    to = [argument for recipient in recipients for argument in ("--recipient", recipient)]
    result = run(["age", "--encrypt", *to], stdin=plaintext, timeout=60)
    if not result.ok:
        raise SecretsError(f"age cannot encrypt: {_message(result.stderr)}")
    return result.stdout


def decrypt(ciphertext: bytes, identities: Sequence[bytes]) -> bytes:
    """Decrypt with the first of the identities that fits.

    :param identities: texts of key files; they go through pipes.
    :raises SecretsError: when none fits, or the ciphertext is damaged.
    """
    require(AGE)
    with piped(*identities) as (names, descriptors):
        keys = [argument for name in names for argument in ("--identity", name)]
        command = ["age", "--decrypt", *keys]
        result = run(command, stdin=ciphertext, timeout=60, pass_fds=descriptors)
    if not result.ok:
        raise SecretsError(f"age cannot decrypt: {_message(result.stderr)}")
    return result.stdout


def _message(stderr: str) -> str:
    """The first line of what age says, without what it quotes, which may be a key."""
    first = (stderr.strip().splitlines() or ["no message"])[0]
    return re.sub(r'"[^"]*"', '"…"', first.removeprefix("age: error: "))


def _keygen(stdin: bytes, *arguments: str) -> bytes:
    require(AGE_KEYGEN)
    result = run(["age-keygen", *arguments], stdin=stdin, timeout=30)
    if not result.ok:
        # age-keygen may quote the line it stumbles over, which may be a key.
        raise ToolError("age-keygen: " + re.sub(r'"[^"]*"', '"…"', result.stderr.strip()))
    return result.stdout
