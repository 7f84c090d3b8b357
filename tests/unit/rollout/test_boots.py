"""A reboot is sent once, and what waits for one is not taken for what another one ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.rollout import boots, waits
from talosmake.rollout.waits import Waits
from tests.project import Project


@dataclass
class Running:
    """A node that is in another boot once it was told to reboot.

    :ivar left: the boots that it was told to leave.
    """

    boot: str = "a"
    left: list[str] = field(default_factory=list)

    def boot_id(self) -> str:
        return self.boot

    def reboot(self) -> None:
        self.left.append(self.boot)
        self.boot += "+"


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
