"""Machine configs of both layouts as talosctl generates them, with names in place of secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from talosmake.base.redact import pem
from talosmake.inventory.model import Cluster

DIRECTORY = Path(__file__).parent / "golden/expected/talos"
ROLES = ("controlplane", "worker")
# A contract, and the Talos whose talosctl makes it.
CONTRACTS = {"v1.13": "v1.13.0", "v1.14": "v1.14.1"}


def cluster(contract: str) -> Cluster:
    """The cluster whose configs these are."""
    return Cluster("talos-test", "https://10.9.0.10:6443", CONTRACTS[contract], contract, "1.36.0")


def text(contract: str, role: str) -> str:
    """The config that ``talosctl gen config`` makes, of tests/golden/test_layouts.py."""
    return (DIRECTORY / f"{contract}-{role}.yaml").read_text()


def documents(contract: str, role: str) -> list[dict[str, Any]]:
    """Its documents, scalars as they are written."""
    return list(yaml.load_all(text(contract, role), Loader=yaml.BaseLoader))


def named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each scalar of a bundle with the dotted name of its key."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from named(below, f"{name}.{key}".lstrip("."))
    else:
        yield name, str(value)


def without_secrets(config: bytes, bundle: bytes) -> str:
    """A config with the names of secrets in place of their values, PEM included."""
    result = config.decode()
    for name, value in named(yaml.safe_load(bundle)):
        result = result.replace(value, f"<{name}>")
        if lines := pem(value).splitlines():
            block = r"\|\n *" + r"\n *".join(map(re.escape, lines)) + r"$"
            result = re.sub(block, f"<{name} as PEM>", result, flags=re.MULTILINE)
    return result
