"""The one module that calls sops."""

from __future__ import annotations

from pathlib import Path

from scripts import encrypted
from scripts.errors import SecretsError
from scripts.process import Result, run
from scripts.tools import SOPS, require

# Exit codes from sops's cmd/sops/codes: MacMismatch and CouldNotRetrieveKey.
_MAC_MISMATCH = 51
_NO_KEY = 128
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


def refuse_partly_encrypted(ciphertext: bytes, path: Path) -> None:
    """Refuse a file that sops can decrypt although values in it are in plain text.

    :raises SecretsError: when there is one.
    """
    if not encrypted.is_whole(ciphertext):
        rule = f"{_own_rule(path)}\n" if encrypted.settings(ciphertext) else ""
        raise SecretsError(
            f"{path}: not wholly encrypted: it holds values in plain text{_settings(ciphertext)}",
            hint=f"{rule}Encrypt it anew: sops decrypt --in-place {path} && sops encrypt "
            f"--in-place {path}\n"
            "If it was ever committed or pushed like this, make new secrets.",
        )


def _settings(ciphertext: bytes) -> str:
    said = encrypted.settings(ciphertext)
    return f" ({said})" if said else ""


def _own_rule(path: Path) -> str:
    """How all values of the files beside this one get encrypted."""
    return (
        f"Give {path.parent}/ a rule of its own in .sops.yaml, above all others and with nothing "
        "but recipients:\n"
        f"  - path_regex: (^|/){path.parent}/[^/]+\\.yaml$\n"
        "    age: RECIPIENTS"
    )


def _explained(path: Path, result: Result) -> SecretsError:
    if "metadata not found" in result.stderr:
        return SecretsError(
            f"{path}: not encrypted (it holds no sops metadata)",
            hint=f"Encrypt it: sops encrypt --in-place {path}\n"
            "If it was ever committed or pushed in plain text, make new secrets.",
        )
    if result.code == _MAC_MISMATCH or "MAC mismatch" in result.stderr:
        return SecretsError(
            f"{path}: was changed after it was encrypted (sops: MAC mismatch)",
            hint=f"Take the last good version from Git (git log -- {path}), and change encrypted "
            f"files only with: sops edit {path}",
        )
    if result.code == _NO_KEY:
        return _no_key(path, result.stderr)
    return SecretsError(f"{path}: sops cannot decrypt it: {_last_line(result)}")


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
