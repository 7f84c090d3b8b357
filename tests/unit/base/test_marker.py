from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from talosmake.base import marker
from talosmake.base.errors import ConfigError


def test_marker_says_what_was_done_and_when(tmp_path: Path) -> None:
    path = tmp_path / "cp_1.applied"
    marker.write(path, step="applied", sha256="ab", members=["cp-1"], tries=2)
    said = marker.read(path)
    assert datetime.fromisoformat(str(said.pop("time"))).utcoffset() is not None
    assert said == {"step": "applied", "sha256": "ab", "members": ["cp-1"], "tries": 2}


def test_marker_is_json_with_a_line_for_each_key(tmp_path: Path) -> None:
    path = tmp_path / "m"
    marker.write(path, sha256="ab", warnings="")
    # apply.sh looks for this line.
    assert '  "sha256": "ab",\n' in path.read_text()
    assert json.loads(path.read_text())["sha256"] == "ab"


def test_missing_marker_says_nothing(tmp_path: Path) -> None:
    assert marker.read(tmp_path / "none") == {}


@pytest.mark.parametrize("content", [b"", b"done", b"[]", b'"x"', b"\xff", b'{"sha256": '])
def test_what_is_no_marker_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cp_1.applied"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cp_1\.applied: is no marker") as error:
        marker.read(path)
    assert "Remove it" in error.value.hint


@pytest.mark.parametrize(
    ("content", "revision"),
    [
        ('{"step": "vm", "revision": 3}', 3),
        ('{"step": "vm", "generation": 4}', 4),  # as it was called
        ('{"step": "vm"}', 0),
        ('{"revision": "x"}', 0),
    ],
)
def test_revision_in_a_marker(tmp_path: Path, content: str, revision: int) -> None:
    path = tmp_path / "vm"
    assert marker.revision(path) == 0
    path.write_text(content)
    assert marker.revision(path) == revision
