"""Whether the Python environment is the one that this checkout was set up with.

Imports nothing that may be missing in another one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

_STAMP = "talosmake-setup.json"
_LOCK = "main.txt"


def complaint(prefix: Path, root: Path) -> str:
    """What is wrong with an environment that set-up made; "" for nothing, and for any other one.

    :param prefix: the Python environment.
    :param root: the directory with the Snakefile.
    """
    lock = root / "requirements" / _LOCK
    try:
        made_of = json.loads((prefix / _STAMP).read_text(encoding="utf-8"))["files"].get(_LOCK)
        wanted = digest(lock.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    if made_of == wanted:
        return ""
    return (
        f"{prefix} was set up with other Python packages than {lock} names\n"
        f"  -> Run 'make setup' in {root}; what is right already stays as it is."
    )


def digest(content: bytes) -> str:
    """As set-up names what it made an environment of (tools/setup)."""
    return hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()[:16]


def check(root: Path) -> None:
    """End this process with an error where something is wrong."""
    if said := complaint(Path(sys.prefix), root):
        print(f"Error: {said}", file=sys.stderr)
        sys.exit(1)
