"""What the pipelines of .github/workflows and examples/gitlab-ci.yml do with secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.project import REPOSITORY

_GITLAB = yaml.safe_load((REPOSITORY / "examples/gitlab-ci.yml").read_text())


def _github(name: str) -> Mapping[str, Any]:
    """The one job of a workflow."""
    text = (REPOSITORY / f".github/workflows/{name}.yml").read_text()
    [job] = yaml.safe_load(text)["jobs"].values()
    assert isinstance(job, dict)
    return job


def _commands(name: str) -> dict[str, str]:
    """What a job runs, by the host of the pipeline."""
    steps = _github(name)["steps"]
    return {
        "GitHub": "\n".join(step.get("run", "") for step in steps),
        "GitLab": "\n".join(_GITLAB[name]["script"]),
    }


@pytest.mark.parametrize("host", ["GitHub", "GitLab"])
def test_pull_request_is_searched_for_secrets(host: str) -> None:
    assert ".venv/bin/python -m scripts.check_secrets" in _commands("check")[host].splitlines()
