"""Raising the pinned talosmake; tests/wheel does it with two real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base.errors import ToolError
from talosmake.cli import update


def test_tools_of_the_wanted_version_that_cannot_be_had_end_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    talosmake = tmp_path / "talosmake"
    talosmake.write_text('#!/bin/sh\necho "set-up: error: $1" >&2; exit 1\n')
    talosmake.chmod(0o755)
    with pytest.raises(ToolError) as error:
        update._set_up(talosmake)
    assert error.value.message == (
        "the tools of this talosmake cannot be provided; why stands above"
    )
    assert capfd.readouterr().err == "set-up: error: setup\n"
