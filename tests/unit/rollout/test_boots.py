"""A reboot is sent once, and what waits for one is not taken for what another one ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from talosmake.base.errors import NodeError
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.inventory.settings import Config
from talosmake.rollout import boots, waits
from talosmake.rollout import reboot as target
from talosmake.rollout.waits import Waits
from talosmake.talos.talosctl import CallError, Failure
from tests.project import Project


@dataclass
class Running:
    """A node that is in another boot once it was told to reboot.

    :ivar left: the boots that it was told to leave.
    :ivar fails: how its answers to that fail, and whether it leaves that boot all the same.
    """

    boot: str = "a"
    left: list[str] = field(default_factory=list)
    fails: list[tuple[Failure, bool]] = field(default_factory=list)

    def boot_id(self) -> str:
        return self.boot

    def reboot(self) -> None:
        self.left.append(self.boot)
        failure, leaves = self.fails.pop(0) if self.fails else (None, True)
        self.boot += "+" * leaves
        if failure:
            raise CallError(failure, "rpc error: in talosctl's words")


@pytest.fixture
def dev(small: Project) -> Environment:
    return environments.load("dev")


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    made = Running()
    monkeypatch.setattr(boots, "secure_api", lambda *_: made)
    monkeypatch.setattr(boots, "connection_error", lambda _: "")
    return made


@pytest.mark.parametrize(
    ("recorded", "waiting", "left"),
    [
        ("", Waits(), ["b"]),
        ("b", Waits(("cluster.etcd",), "b"), ["b"]),
        # An earlier run sent it, and was killed.
        ("a", Waits(), []),
        ("a", Waits(("cluster.etcd",), "a"), []),
        # What was sent since waits in the boot that the node is in, or nobody knows in which.
        ("a", Waits(("cluster.etcd",), "b"), ["b"]),
        ("a", Waits(("cluster.etcd",), ""), ["b"]),
    ],
)
def test_it_is_rebooted_unless_it_was_since(
    dev: Environment, running: Running, recorded: str, waiting: Waits, left: list[str]
) -> None:
    node = dev.workers[0]
    running.boot = "b"
    if recorded:
        boots.mark_due(dev, node, recorded)
    waits.write(dev, node, waiting)
    boots.reboot(dev, node)
    assert running.left == left
    assert not boots.is_due(dev, node)
    assert waits.recorded(dev, node) == Waits()


@pytest.mark.parametrize(("leaves", "left"), [(False, ["a", "a"]), (True, ["a"])])
def test_answer_that_was_lost_is_looked_for(
    dev: Environment, running: Running, leaves: bool, left: list[str]
) -> None:
    running.fails = [(Failure.UNREACHABLE, leaves)]
    boots.reboot(dev, dev.workers[0])
    assert running.left == left
    assert not boots.is_due(dev, dev.workers[0])


def test_what_a_node_refuses_is_not_waited_for(dev: Environment, running: Running) -> None:
    running.fails = [(Failure.NOT_AUTHORIZED, False)]
    with pytest.raises(NodeError, match="in talosctl's words"):
        boots.reboot(dev, dev.workers[0])
    assert not boots.is_due(dev, dev.workers[0])


def test_nodes_of_a_lab_are_powered_off_and_on(dev: Environment) -> None:
    lab = replace(dev, cluster=replace(dev.cluster, lab=True))
    config = Config(
        env="dev", goal=None, workers_at_once=1, bundle="", defaults={}, node="worker_1"
    )
    with pytest.raises(NodeError, match="a lab's nodes cannot be rebooted") as caught:
        target.reboot([lab], config)
    way = "snakemake lab_stop --config env=dev && snakemake up --config env=dev"
    assert way in caught.value.hint
