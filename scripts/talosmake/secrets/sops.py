"""The one module that calls sops."""

from __future__ import annotations

from pathlib import Path

from talosmake.base.errors import SecretsError
from talosmake.base.process import Result, run
from talosmake.base.tools import SOPS, require
from talosmake.secrets import encrypted

# Exit codes from sops's cmd/sops/codes: MacMismatch and CouldNotRetrieveKey.
_MAC_MISMATCH = 51
_NO_KEY = 128
# What the rules of .sops.yaml say of the files that this workflow decrypts.
BUNDLES = r"(^|/)secrets/[^/]+\.yaml$"
PATCHES = r"\.sops\.yaml$"
_YAML = ("--input-type", "yaml", "--output-type", "yaml")


def decrypt(ciphertext: bytes, path: Path, key_file: Path | None = None) -> bytes:
    """Decrypt YAML; both ways it goes through a pipe, and the plaintext is only in memory.

    Keys are looked for where sops looks for them (SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, the default
    key file, …).

    :param path: the file that the ciphertext stands in, for messages only.
    :param key_file: an age key file to use instead.
    :raises SecretsError: when the text is not encrypted, was changed by hand, or no key fits; each
        with what to do. Whatever the failure, nothing is taken for plaintext.
    """
    require(SOPS)
    env = {"SOPS_AGE_KEY_FILE": str(key_file.resolve())} if key_file else None
    result = run(
        ["sops", "decrypt", *_YAML],
        stdin=ciphertext,
        timeout=60,
        env=env,
    )
    if not result.ok:
        raise _explained(path, result)
    return result.stdout


def encrypt(plaintext: bytes, path: Path, recipient: str | None = None) -> bytes:
    """Encrypt YAML for the file it will be, by the rules in .sops.yaml.

    :param path: the file's name, which picks the rule; it is not written.
    :param recipient: an age recipient to encrypt for instead of the rules'.
    :raises SecretsError: when no rule is for this file, a recipient is wrong, or the rule leaves
        values in plain text.
    """
    require(SOPS)
    to = ["--age", recipient] if recipient else []
    result = run(
        ["sops", "encrypt", *_YAML, *to, "--filename-override", str(path)],
        stdin=plaintext,
        timeout=60,
    )
    if not result.ok:
        raise SecretsError(
            f"{path}: sops does not encrypt it: {_last_line(result)}",
            hint="Look at creation_rules in .sops.yaml: one path_regex must match this file "
            "and name age recipients.",
        )
    if not encrypted.is_whole(result.stdout):
        raise SecretsError(
            f"{path}: not made: by its rule in .sops.yaml, sops leaves values in plain text"
            f"{_settings(result.stdout)}",
            hint=_own_rule(path),
        )
    return result.stdout


def refuse_plain_text(content: bytes, path: Path) -> None:
    """Refuse a file that holds anything in plain text; no key is needed, and no value shown.

    :param path: the file that the content stands in, for messages only.
    :raises SecretsError: when it is not encrypted, or not all of it.
    """
    if not encrypted.metadata(content):
        raise _not_encrypted(path)
    if not encrypted.is_whole(content):
        by_rule = encrypted.settings(content)
        again = f"sops decrypt --in-place {path} && sops encrypt --in-place {path}"
        fix = f"{_own_rule(path)}\nEncrypt it again: {again}" if by_rule else _last_good(path)
        raise SecretsError(
            f"{path}: not wholly encrypted: it holds values in plain text{_settings(content)}",
            hint=f"{fix}\n{_KNOWN}",
        )


def _not_encrypted(path: Path) -> SecretsError:
    return SecretsError(
        f"{path}: not encrypted (it holds no sops metadata)",
        hint=f"Encrypt it: sops encrypt --in-place {path}\n{_KNOWN}",
    )


_KNOWN = (
    "If it was ever pushed like this, also on a branch, its secrets are known: make new ones, too."
)


def _settings(content: bytes) -> str:
    said = encrypted.settings(content)
    return f" ({said})" if said else ""


def _own_rule(path: Path) -> str:
    """How all values of such files get encrypted."""
    pattern = PATCHES if path.name.endswith(".sops.yaml") else BUNDLES
    return (
        "Give such files a rule of their own in .sops.yaml, above all others and with nothing but "
        f"recipients:\n  - path_regex: {pattern}\n    age: RECIPIENTS"
    )


def _explained(path: Path, result: Result) -> SecretsError:
    if "metadata not found" in result.stderr:
        return _not_encrypted(path)
    if result.code == _MAC_MISMATCH or "MAC mismatch" in result.stderr:
        return SecretsError(
            f"{path}: was changed after it was encrypted (sops: MAC mismatch)",
            hint=_last_good(path),
        )
    if result.code == _NO_KEY:
        return _no_key(path, result.stderr)
    return SecretsError(f"{path}: sops cannot decrypt it: {_last_line(result)}")


def _last_good(path: Path) -> str:
    return (
        f"Take the last good version from Git (git log -- {path}), and change encrypted files only "
        f"with: sops edit {path}"
    )


def _no_key(path: Path, stderr: str) -> SecretsError:
    words = " ".join(stderr.replace("|", " ").split())
    if "failed to open SOPS_AGE_KEY_FILE" in words:
        what = "the age key file that SOPS_AGE_KEY_FILE names cannot be opened"
    elif "failed to parse" in words:
        what = "the age key cannot be read: it is no age key file"
    elif "did not match any of the recipients" in words:
        what = "it is encrypted for other age keys than yours"
    else:
        what = "there is no age key to decrypt it with"
    return SecretsError(
        f"{path}: {what}",
        hint="Set SOPS_AGE_KEY_FILE to the key file it was encrypted for (or put the key into "
        "~/.config/sops/age/keys.txt, or SOPS_AGE_KEY).\n"
        f"Who can decrypt it stands at its end, below 'recipient:'; they can let your key in with: "
        f"sops updatekeys {path}\nNothing new was made in its place.",
    )


def _last_line(result: Result) -> str:
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {result.code}"
