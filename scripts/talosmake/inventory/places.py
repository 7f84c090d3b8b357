"""Where the secrets of environments, and the configuration, stand in Git."""

from __future__ import annotations

from pathlib import Path

CONFIG = Path("config/config.yaml")
SECRETS = Path("secrets")
SHARED_BUNDLE = SECRETS / "secrets.yaml"
SOPS_RULES = Path(".sops.yaml")


def own_bundle(environment: str) -> Path:
    """Where an environment's own bundle stands, if it has one."""
    return SECRETS / f"{environment}.yaml"
