"""Finding plain secrets among files that Git tracks: ``python -m scripts.check_secrets``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts import encrypted

# In pieces, so that this file does not find itself.
_SIGNS = {
    "an age secret key": re.compile(rb"AGE-SECRET-" + rb"KEY-1[0-9A-Z]{20}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z0-9 ]*" + rb"PRIVATE KEY-----"),
    # Talos configs and bundles hold PEM files in base64: "-----BEGIN " and a key's first words.
    "a private key in base64": re.compile(
        rb"LS0tLS1CRUdJTi" + rb"(?:BQUklWQVRF|BSU0EgUFJJVk|BFQyBQUklWQVRF|BFRDI1NTE5IFBS)"
    ),
    "a Talos token": re.compile(
        rb"(?:token|bootstraptoken): ['\"]?[a-z0-9]{6}" + rb"\.[a-z0-9]{16}\b"
    ),
}


def findings(path: Path) -> Iterator[str]:
    """What in a file must not be in Git, each with the line it stands in."""
    content = path.read_bytes()
    if _must_be_encrypted(path) and not encrypted.is_whole(content):
        yield f"{path}: is not encrypted; run: sops encrypt --in-place {path}"
    for what, sign in _SIGNS.items():
        for match in sign.finditer(content):
            line = content.count(b"\n", 0, match.start()) + 1
            yield f"{path}:{line}: holds {what}"


def _must_be_encrypted(path: Path) -> bool:
    in_secrets = path.parent.name == "secrets" and path.suffix in (".yaml", ".yml")
    # .sops.yaml itself holds sops's rules: public keys only.
    is_patch = path.name.endswith((".sops.yaml", ".sops.yml")) and path.name != ".sops.yaml"
    return in_secrets or is_patch


def tracked_files() -> list[Path]:
    """All files that Git tracks below this directory."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True)
    return [Path(name.decode()) for name in listed.stdout.split(b"\0") if name]


def main(names: Iterable[str]) -> int:
    """Check the named files, or all tracked ones; exit code 1 when something was found."""
    paths = [Path(name) for name in names] or tracked_files()
    found = [finding for path in paths if path.is_file() for finding in findings(path)]
    for finding in found:
        print(finding, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
