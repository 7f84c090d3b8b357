"""Turns of control planes, with real processes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scripts import locks
from scripts.errors import ConfigError
from scripts.model import Cluster

PROD = Cluster("talos-prod", "https://10.1.1.10:6443", "v1.13.0", "v1.13", "1.36.0")


def test_path_is_the_cluster_and_not_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"talos-prod\0https://10.1.1.10:6443").hexdigest()[:12]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "other"))
    assert locks.roll_out_path(PROD) == tmp_path / f"talosmake/locks/talos-prod-{digest}.lock"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = locks.roll_out_path(PROD)
    assert path == tmp_path / f".cache/talosmake/locks/talos-prod-{digest}.lock"


def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match="neither HOME nor XDG_CACHE_HOME") as failed:
        locks.roll_out_path(PROD)
    assert "Set XDG_CACHE_HOME" in failed.value.hint
