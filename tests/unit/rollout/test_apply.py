"""An apply whose answer got lost, step by step: what the node showed, and what is done then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from talosmake.base.errors import NodeError
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.rollout import apply as rollout_apply
from talosmake.rollout import boots, guard
from talosmake.rollout import bootstrap as rollout_bootstrap
from talosmake.talos.observe import Observation, State
from talosmake.talos.talosctl import CallError, Failure
from tests.project import Project

CONFIG = b"machine: {type: worker}\n"
RUNNING = Observation(State.RUNNING, config=CONFIG)
MAINTENANCE = Observation(State.MAINTENANCE)


@dataclass
class Machine:
    """A node that shows one state after the other, and answers each apply with a failure."""

    shows: Iterator[Observation]
    fails: Iterator[Failure]
    address: str = "10.9.0.21"
    applied: list[bytes] = field(default_factory=list)
    persistent: bytes = CONFIG

    def persistent_config(self) -> bytes:
        return self.persistent

    def apply(self, config: bytes, _mode: str = "") -> str:
        self.applied.append(config)
        failure = next(self.fails, None)
        if failure:
            raise CallError(failure, "rpc error: in talosctl's words")
        return "Applied configuration without a reboot"


@pytest.fixture
def dev(small: Project) -> Environment:
    return environments.load("dev")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(iter(()), iter(()))
    monkeypatch.setattr(rollout_apply, "observe", lambda *_: next(made.shows))
    monkeypatch.setattr(rollout_apply, "maintenance_api", lambda *_: made)
    monkeypatch.setattr(rollout_apply, "secure_api", lambda *_: made)
    monkeypatch.setattr(guard, "check_machine", lambda *_: None)
    monkeypatch.setattr(guard, "check_cluster", lambda *_: None)
    return made


def test_node_that_leaves_maintenance_mode_meanwhile_is_asked_again(
    dev: Environment, machine: Machine
) -> None:
    """The answer to the first apply is lost; the second meets a node that took the first."""
    machine.shows = iter([MAINTENANCE, MAINTENANCE, MAINTENANCE, RUNNING, RUNNING])
    machine.fails = iter([Failure.UNREACHABLE, Failure.NOT_AUTHORIZED])
    assert rollout_apply._apply(dev, dev.workers[0], CONFIG) == ("none", rollout_apply.UNCHANGED)
    assert machine.applied == [CONFIG, CONFIG]
    assert next(machine.shows, None) is None


def test_another_clusters_config_that_came_meanwhile_is_left_alone(
    dev: Environment, machine: Machine
) -> None:
    machine.shows = iter([MAINTENANCE, Observation(State.FOREIGN), Observation(State.FOREIGN)])
    machine.fails = iter([Failure.NOT_AUTHORIZED])
    with pytest.raises(NodeError, match="belongs to another cluster"):
        rollout_apply._apply(dev, dev.workers[0], CONFIG)
    assert len(machine.applied) == 1


def test_running_node_that_does_not_allow_it_is_not_asked_twice(
    dev: Environment, machine: Machine
) -> None:
    machine.shows = iter([Observation(State.RUNNING, config=b"machine: {type: controlplane}\n")])
    machine.fails = iter([Failure.NOT_AUTHORIZED])
    with pytest.raises(NodeError) as caught:
        rollout_apply._apply(dev, dev.workers[0], CONFIG)
    assert "run the same command again: it makes a new one" in caught.value.hint
    assert len(machine.applied) == 1


def test_config_that_would_come_with_the_next_reboot_is_replaced(
    dev: Environment, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git went back to what the node runs, while another config is staged on it."""
    machine.persistent = b"machine: {type: worker, sysctls: {a: '1'}}\n"
    machine.shows = iter([RUNNING])
    monkeypatch.setattr(rollout_apply, "observe_securely", lambda *_: RUNNING)
    mode, answer = rollout_apply._apply(dev, dev.workers[0], CONFIG)
    assert (mode, answer) == ("auto", "Applied configuration without a reboot")
    assert machine.applied == [CONFIG]


@pytest.mark.parametrize("talos", ["v1.13.9", "v1.14.1"])
def test_reboot_mode_where_no_apply_reboots(
    small: Project, machine: Machine, monkeypatch: pytest.MonkeyPatch, talos: str
) -> None:
    """From 1.14 on it is an apply, and then a reboot; an interrupted one goes on with that."""
    small.environment("dev", "APPLY_MODE=reboot\n")
    dev = environments.load("dev")
    node, modes, reboots = dev.workers[0], [], []
    old = Observation(State.RUNNING, config=b"machine: {type: worker, sysctls: {a: b}}\n")
    fails = iter([NodeError("killed here")])

    def apply(_: Machine, _config: bytes, mode: str) -> str:
        modes.append(mode)
        return "Applied"

    def reboot(*_: object) -> None:
        if error := next(fails, None):
            raise error
        reboots.append(node)

    monkeypatch.setattr(Machine, "version", lambda _: f"{talos} metal", raising=False)
    monkeypatch.setattr(Machine, "boot_id", lambda _: "one", raising=False)
    monkeypatch.setattr(Machine, "apply", apply)
    monkeypatch.setattr(rollout_apply, "observe_securely", lambda *_: RUNNING)
    monkeypatch.setattr(boots, "reboot", reboot)
    monkeypatch.setattr(boots, "wait_until_rebooted", lambda *_: None)
    machine.shows = iter([old, RUNNING])
    if talos == "v1.13.9":
        assert rollout_apply._apply(dev, node, CONFIG) == ("reboot", "Applied")
        assert (modes, boots.is_due(dev, node)) == (["reboot"], False)
        return
    with pytest.raises(NodeError, match="killed here"):
        rollout_apply._apply(dev, node, CONFIG)
    assert boots.is_due(dev, node)
    assert rollout_apply._apply(dev, node, CONFIG) == ("none", rollout_apply.UNCHANGED)
    assert (modes, reboots) == (["no-reboot"], [node])


def test_refused_config_leaves_no_reboot_behind(
    small: Project, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.environment("dev", "APPLY_MODE=reboot\n")
    dev = environments.load("dev")
    monkeypatch.setattr(Machine, "version", lambda _: "v1.14.1 metal", raising=False)
    monkeypatch.setattr(Machine, "boot_id", lambda _: "one", raising=False)
    machine.shows = iter([Observation(State.RUNNING, config=b"machine: {type: controlplane}\n")])
    machine.fails = iter([Failure.REJECTED])
    with pytest.raises(NodeError):
        rollout_apply._apply(dev, dev.workers[0], CONFIG)
    assert not boots.is_due(dev, dev.workers[0])


@dataclass
class Plane:
    """A control plane: the states of its etcd, one after the other, and whether it has data."""

    states: list[str]
    data: bool
    bootstraps: int = 0

    def etcd_state(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def has_etcd_data(self) -> bool:
        return self.data

    def bootstrap(self) -> None:
        self.bootstraps += 1


def _bootstrapped(
    dev: Environment, monkeypatch: pytest.MonkeyPatch, planes: dict[str, Plane]
) -> str:
    assert [node.name for node in dev.control_planes] == [*planes]
    monkeypatch.setattr(rollout_bootstrap, "secure_api", lambda _, node: planes[node.name])
    return rollout_bootstrap._bootstrap(dev)


@pytest.fixture
def three(small: Project) -> Environment:
    for number in (2, 3):
        small.node("dev", "control_planes", f"cp_{number}", f"10.9.0.1{number}")
    facts = small.read("patches/envs/dev/cluster.env")
    small.write("patches/envs/dev/cluster.env", f"{facts}NODE_TIMEOUT=3\n")
    return environments.load("dev")


def test_new_cluster_is_bootstrapped(three: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    planes = {f"cp_{n}": Plane(["Preparing"], data=False) for n in (1, 2, 3)}
    assert _bootstrapped(three, monkeypatch, planes) == "bootstrapped etcd on cp_1"
    assert [plane.bootstraps for plane in planes.values()] == [1, 0, 0]


def test_no_second_cluster_beside_one_that_is_starting(
    three: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power was off, and the first node has a new disk."""
    planes = {
        "cp_1": Plane(["Preparing"], data=False),
        "cp_2": Plane(["Preparing", "Running"], data=True),
        "cp_3": Plane(["Waiting", "Preparing", "Running"], data=True),
    }
    answer = _bootstrapped(three, monkeypatch, planes)
    assert answer.startswith("etcd already runs on cp_2")
    assert planes["cp_1"].bootstraps == 0


def test_no_second_cluster_beside_one_that_does_not_start(
    three: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = {f"cp_{n}": Plane(["Preparing"], data=n == 3) for n in (1, 2, 3)}
    with pytest.raises(NodeError) as caught:
        _bootstrapped(three, monkeypatch, planes)
    assert "an etcd with data is to start on cp_3" in caught.value.message
    assert planes["cp_1"].bootstraps == 0
