"""What an artifact is: a reviewed state of one environment, packed into one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PackedNode:
    """What an artifact says about one node.

    :ivar sha256: of its complete config, in hex.
    :ivar lint: what lint found, as in its ``.validated`` marker.
    :ivar redacted: its config, secrets redacted.
    """

    sha256: str
    lint: list[dict[str, Any]]
    redacted: str


@dataclass(frozen=True)
class Artifact:
    """An artifact as it was read; whether it is genuine shows its seal.

    :ivar sha256: of the whole file, in hex.
    :ivar commit: the Git commit that it was made from, in hex.
    :ivar version: what ``git describe`` said, with ``-dirty`` where files were not committed.
    :ivar dirty: whether files were not committed, so that what it holds is in no commit.
    :ivar manifest: the bytes that the seal is for.
    :ivar findings: how many lint findings there were.
    :ivar nodes: by the names of their configs, e.g. ``worker-worker_1``.
    :ivar encrypted: the complete configs, encrypted with age; None where they were left out.
    """

    path: Path
    sha256: str
    environment: str
    cluster: str
    commit: str
    version: str
    dirty: bool
    manifest: bytes
    seal: str
    findings: int
    nodes: Mapping[str, PackedNode]
    encrypted: bytes | None = field(repr=False)
