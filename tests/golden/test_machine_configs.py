"""Machine configs made with a bundle of the moment; the golden files have no secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from scripts import render, secrets, talosctl
from scripts.model import Environment, Node
from tests.golden.conftest import Golden


def named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each scalar of a bundle with the dotted name of its key."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from named(below, f"{name}.{key}".lstrip("."))
    else:
        yield name, str(value)


def without_secrets(config: bytes, bundle: bytes) -> str:
    text = config.decode()
    for name, value in named(yaml.safe_load(bundle)):
        text = text.replace(value, f"<{name}>")
    return text


@pytest.mark.parametrize(("role", "name"), [("controlplane", "cp-2"), ("worker", "cp-2")])
def test_machine_config(
    awkward: Environment, golden: Golden, monkeypatch: pytest.MonkeyPatch, role: str, name: str
) -> None:
    bundle = talosctl.gen_secrets("v1.13")
    monkeypatch.setattr(secrets, "bundle_of", lambda _: bundle)
    node: Node = awkward.node(role, name)
    config = render.render(awkward, node)
    assert talosctl.validate(config) == ""
    text = without_secrets(config, bundle)
    # No key, certificate or token, whatever they are called.
    assert not re.search(r"[A-Za-z0-9+/]{40,}", text)
    assert not re.search(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", text)
    golden(f"{role}.yaml", text)
