"""Golden files of an output change only with the revision of what makes it (render/revisions.py).

Without a new revision, what was made by the code before it would stay as it is. After a change that
is meant: raise the revision, then ``UPDATE_GOLDEN=1 pytest tests/golden/test_revisions.py``, which
adds its digest to revisions.json, and changes none that is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from talosmake.base import marker
from talosmake.checks import lint, validate
from talosmake.inventory.model import Environment
from talosmake.render import revisions
from talosmake.talos import generate
from tests.golden.conftest import EXPECTED, Golden
from tests.project import REPOSITORY

RECORD = Path(__file__).parent / "revisions.json"
_LINT = REPOSITORY / "tests/errors/lint"
# What shows the output that a revision is of.
GOLDEN: dict[str, tuple[str, ...]] = {
    "RENDER": ("controlplane.yaml", "worker.yaml"),
    "CILIUM_LAYER": ("cilium-helm.yaml", "cilium-job.yaml"),
    "VALIDATE": ("validated.json",),
    "TALOSCONFIG": ("talosconfig.yaml",),
    "APPLY_SCRIPT": ("apply.sh",),
}


def digest_of(paths: Iterable[Path]) -> str:
    hashed = hashlib.sha256()
    for path in paths:
        hashed.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return hashed.hexdigest()


def golden_files(name: str) -> list[Path]:
    if name == "LINT":
        return sorted(_LINT.glob("*/expected"))
    return [EXPECTED / file for file in GOLDEN[name]]


Record = dict[str, dict[str, str]]


def complaint(record: Mapping[str, Mapping[str, str]], name: str, now: int, digest: str) -> str:
    """What is wrong with the revision of an output; "" for nothing."""
    of_it = record.get(name, {})
    if of_it and now < max(map(int, of_it)):
        return f"{name} was {max(map(int, of_it))} already"
    if str(now) not in of_it:
        return f"UPDATE_GOLDEN=1 pytest tests/golden/test_revisions.py records {name}={now}"
    if of_it[str(now)] != digest:
        return f"its golden files are others: raise {name} in scripts/talosmake/render/revisions.py"
    return ""


def updated(record: Record, name: str, now: int, digest: str) -> Record:
    """The record with a new revision in it; one that is there stays as it is."""
    return {**record, name: {str(now): digest, **record.get(name, {})}}


NAMES = sorted(name for name in vars(revisions) if name.isupper())


# These two stand above: when golden files are renewed, they are before they are recorded.
def test_validated_marker(
    awkward: Environment, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for the same config, done again: it must be no reason to ask a node."""
    node = awkward.workers[0]
    config = awkward.paths.config(node)
    config.parent.mkdir(parents=True)
    config.write_text("version: v1alpha1\n")
    monkeypatch.setattr(generate, "validate", lambda *_: "")
    looked: list[str] = []
    monkeypatch.setattr(lint, "of_node", lambda _, one, *__: looked.append(one.name))
    validate.validate_config(awkward, node)
    text = awkward.paths.validated(node).read_text()
    golden("validated.json", text)
    monkeypatch.setattr(marker, "datetime", None)
    validate.validate_config(awkward, node)
    assert awkward.paths.validated(node).read_text() == text
    assert looked == [node.name, node.name]


def test_talosconfig(golden: Golden) -> None:
    made = b"context: a\ncontexts:\n  a:\n    endpoints: []\n    ca: x\n    crt: y\n    key: z\n"
    golden("talosconfig.yaml", generate.with_endpoints(made, ["10.9.0.11", "fd00::12"]).decode())


@pytest.mark.parametrize("name", NAMES)
def test_golden_files_are_those_of_the_revision(name: str) -> None:
    now, digest = getattr(revisions, name), digest_of(golden_files(name))
    record: Record = json.loads(RECORD.read_text())
    if os.environ.get("UPDATE_GOLDEN"):
        record = updated(record, name, now, digest)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    assert complaint(record, name, now, digest) == ""


def test_recorded_revisions_stay_as_they_were_committed() -> None:
    path = RECORD.relative_to(REPOSITORY)
    shown = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if shown.returncode:
        pytest.skip("not a clone, or not committed yet")
    now: Record = json.loads(RECORD.read_text())
    for name, of_it in json.loads(shown.stdout).items():
        assert of_it.items() <= now[name].items(), f"{name}: raise it, and change nothing recorded"


def test_each_revision_is_a_parameter_of_a_rule() -> None:
    rules = "".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    assert len(NAMES) >= 6
    for name in NAMES:
        assert f"revision=revisions.{name}," in rules


@pytest.mark.parametrize(
    ("record", "now", "said"),
    [
        ({"A": {"1": "x"}}, 1, ""),
        ({"A": {"1": "y"}}, 1, "its golden files are others: raise A"),
        ({"A": {"1": "y"}}, 2, "UPDATE_GOLDEN=1 pytest"),
        ({"A": {"1": "y", "2": "x"}}, 2, ""),
        ({"A": {"1": "x", "10": "y"}}, 1, "A was 10 already"),
        ({}, 1, "UPDATE_GOLDEN=1 pytest"),
    ],
)
def test_what_is_complained_of(record: Record, now: int, said: str) -> None:
    found = complaint(record, "A", now, "x")
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_an_update_adds_and_never_changes() -> None:
    before: Record = {"A": {"1": "y"}, "B": {"1": "z"}}
    assert updated(before, "A", 2, "x") == {"A": {"1": "y", "2": "x"}, "B": {"1": "z"}}
    assert updated(before, "A", 1, "x") == before
