"""Small helpers for YAML that was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def yaml_message(error: yaml.YAMLError, path: Path) -> str:
    """Where and what, without the snippet, which might show a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        context = f" {error.context}" if error.context else ""
        return (
            f"{path}:{mark.line + 1}:{mark.column + 1}: not YAML:{context} {error.problem}".rstrip()
        )
    return f"{path}: not YAML: {getattr(error, 'reason', 'it does not parse')}"


def lookup(document: Any, *keys: str) -> Any:
    """The value below ``keys``, or None where the way there ends."""
    for key in keys:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document
