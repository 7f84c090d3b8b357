from __future__ import annotations

import json
from pathlib import Path

import pytest

from talosmake.artifact import archive, diff

_CONFIG = "machine:\n  sysctls:\n    vm.swappiness: {}\n  token: <redacted>\n"


def packed(path: Path, environment: str, lint: str = "", **configs: str) -> Path:
    members = {f"configs/{name}.yaml": text.encode() for name, text in configs.items()}
    members["manifest.json"] = json.dumps({"environment": environment}).encode()
    members["lint.txt"] = lint.encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(archive.compress(archive.pack(members, 0), 0))
    return path


def test_what_changes_as_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    packed(old / "talos-dev-1.tar.gz", "dev", a=_CONFIG.format(1), b=_CONFIG, c="x: 1\n")
    packed(new / "talos-dev-2.tar.gz", "dev", "dev: 1", a=_CONFIG.format(2), b=_CONFIG, d="x: 1\n")
    packed(new / "talos-prod-2.tar.gz", "prod", a=_CONFIG)
    packed(old / "talos-prod-1.tar.gz", "prod", a=_CONFIG)
    assert diff.main([str(old), str(new)]) == 0
    fence = "`" * 8
    assert capsys.readouterr().out.splitlines() == [
        "### dev: 3 of 4 machine configs change",
        "",
        f"{fence}diff",
        *("--- a before", "+++ a now", "@@ -1,4 +1,4 @@ machine.sysctls", " machine:"),
        *("   sysctls:", "-    vm.swappiness: 1", "+    vm.swappiness: 2", "   token: <redacted>"),
        *("--- c", "+++ no longer in Git", "--- not in Git before", "+++ d"),
        fence,
        "",
        *("Lint, as it is now:", "", f"{fence}text", "dev: 1", fence, ""),
        "### prod: 0 of 1 machine configs change",
    ]


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed(tmp_path / "talos-dev-1.tar.gz", "dev", a="x: 1\n")
    assert diff.main([str(path)]) == 1
    assert "usage: " in capsys.readouterr().err
    packed(tmp_path / "talos-dev-2.tar.gz", "dev", a="x: 1\n")
    assert diff.main([str(tmp_path), str(path)]) == 1
    assert "is the second artifact of dev" in capsys.readouterr().err
    path.write_bytes(b"")
    assert diff.main([str(path), str(path)]) == 1
    assert "is no artifact" in capsys.readouterr().err
    # A base that has none yet.
    assert diff.main([str(tmp_path / "none"), str(tmp_path / "none")]) == 0
