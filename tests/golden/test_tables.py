from __future__ import annotations

import pytest

from talosmake.base.errors import NodeError
from talosmake.inventory.model import Environment, Node
from talosmake.report import status
from talosmake.talos import observe
from talosmake.talos.observe import Observation, State
from tests.golden.conftest import Golden


def seen(_: Environment, node: Node) -> Observation:
    if node.hostname == "w":
        raise NodeError("lab-1_a/w-2 (10.9.0.21): certificate has expired\nmore")
    return Observation(State.MAINTENANCE if node.name == "cp_1" else State.FOREIGN)


def touch(environment: Environment, node: Node, step: str) -> None:
    path = getattr(environment.paths, step)(node)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_tables(awkward: Environment, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "observe", seen)
    shown = [
        "# nothing made yet",
        status.node_table(awkward),
        status.summary(awkward),
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
        status.node_table(awkward),
        status.summary(awkward),
    ]
    awkward.paths.bootstrapped.touch()
    awkward.paths.kubeconfig.touch()
    shown += [
        "\n# bootstrapped",
        status.node_table(awkward),
        status.summary(awkward),
    ]
    golden("tables.txt", "\n".join(shown) + "\n")
    assert observe.State.FOREIGN in shown[4]
