from __future__ import annotations

import pytest

from scripts import housekeeping, live
from scripts.errors import NodeError
from scripts.live import Live, State
from scripts.model import Environment, Node
from tests.golden.conftest import Golden


def seen(_: Environment, node: Node) -> Live:
    if node.hostname == "w":
        raise NodeError("lab-1_a/w-2 (10.9.0.21): certificate has expired\nmore")
    return Live(State.MAINTENANCE if node.name == "cp_1" else State.FOREIGN)


def touch(environment: Environment, node: Node, step: str) -> None:
    path = getattr(environment.paths, step)(node)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_tables(awkward: Environment, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "observe", seen)
    shown = [
        "# nothing made yet",
        housekeeping.node_table(awkward),
        housekeeping.summary(awkward),
    ]
    first, second = awkward.control_planes
    touch(awkward, first, "config")
    touch(awkward, second, "config")
    touch(awkward, second, "validated")
    touch(awkward, awkward.workers[0], "applied")
    for path in (awkward.paths.talosconfig, awkward.paths.apply_script):
        path.touch()
    shown += [
        "\n# on the way",
        housekeeping.node_table(awkward),
        housekeeping.summary(awkward),
    ]
    awkward.paths.bootstrapped.touch()
    awkward.paths.kubeconfig.touch()
    shown += [
        "\n# bootstrapped",
        housekeeping.node_table(awkward),
        housekeeping.summary(awkward),
    ]
    golden("tables.txt", "\n".join(shown) + "\n")
    assert live.State.FOREIGN in shown[4]
