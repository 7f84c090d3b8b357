"""The one module that calls age-keygen."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.errors import SecretsError, ToolError
from scripts.process import run
from scripts.tools import AGE_KEYGEN, require


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


def _keygen(stdin: bytes, *arguments: str) -> bytes:
    require(AGE_KEYGEN)
    result = run(["age-keygen", *arguments], stdin=stdin, timeout=30)
    if not result.ok:
        # age-keygen may quote the line it stumbles over, which may be a key.
        raise ToolError("age-keygen: " + re.sub(r'"[^"]*"', '"…"', result.stderr.strip()))
    return result.stdout
