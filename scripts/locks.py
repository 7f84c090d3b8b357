"""Locks that hold for every process, and that the kernel drops with the process that holds them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from scripts.errors import ConfigError
from scripts.model import Cluster


def roll_out_path(cluster: Cluster) -> Path:
    """The file that is locked (``flock``) by who changes a control plane of a cluster.

    It is the same for all checkouts of a user on a machine, and for apply.sh: a cluster is known by
    its name and its endpoint. ``TALOSMAKE_CACHE`` does not count, which may differ per checkout.

    :raises ConfigError: when the user has no cache directory.
    """
    identity = f"{cluster.name}\0{cluster.endpoint}".encode()
    # Part of a file's name, and of apply.sh; the digest tells names apart.
    name = re.sub(r"[^A-Za-z0-9._-]", "_", cluster.name)
    return _directory() / f"{name}-{hashlib.sha256(identity).hexdigest()[:12]}.lock"


def _directory() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]).absolute() / "talosmake/locks"
    try:
        return Path.home() / ".cache/talosmake/locks"
    except RuntimeError:
        raise ConfigError(
            "neither HOME nor XDG_CACHE_HOME is set, so control planes cannot be locked",
            hint="Set XDG_CACHE_HOME to a directory that all your runs on this machine share.",
        ) from None
