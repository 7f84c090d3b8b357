"""What is recorded of settings that wait for a reboot, and for how long."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

import pytest

from talosmake.base import marker
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.report import diff, status
from talosmake.rollout import waits
from talosmake.rollout.waits import Waits
from talosmake.talos.talosctl import CallError, Failure
from tests.project import Project

_CONFIG = (
    b"cluster: {etcd: {extraArgs: {a: %s}}}\nmachine: {env: {A: secret-%s}, sysctls: {b: %s}}\n"
)


@dataclass
class Running:
    """A node that tells its version and its boot, and counts who asks."""

    talos: str = "v1.14.1"
    boot: str = "one"
    asked: list[str] = field(default_factory=list)

    def version(self) -> str:
        self.asked.append("version")
        return f"{self.talos} metal"

    def boot_id(self) -> str:
        self.asked.append("boot_id")
        if not self.boot:
            raise CallError(Failure.UNREACHABLE, "the node does not tell its boot ID")
        return self.boot


@pytest.fixture
def dev(small: Project) -> Environment:
    return environments.load("dev")


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    made = Running()
    monkeypatch.setattr(waits, "secure_api", lambda *_: made)
    return made


def config(etcd: str = "1", variable: str = "1", sysctl: str = "1") -> bytes:
    return _CONFIG % tuple(value.encode() for value in (etcd, variable, sysctl))


def send(dev: Environment, before: bytes, after: bytes) -> Waits:
    with waits.sending(dev, dev.workers[0], before, after):
        pass
    return waits.recorded(dev, dev.workers[0])


@pytest.mark.parametrize(
    ("sent_in", "now", "waiting"),
    [
        ("one", "one", True),
        ("one", "two", False),
        ("", "two", True),
        ("one", "", True),
        ("", "", True),
    ],
)
def test_only_another_boot_ends_it(sent_in: str, now: str, waiting: bool) -> None:
    """What is not known is never another one."""
    assert bool(Waits(("a",), sent_in).after(now).settings) is waiting


def test_sets_are_joined_within_a_boot() -> None:
    before = Waits(("b",), "one")
    assert before.joined(["a", "b"], "one") == Waits(("a", "b"), "one")
    assert before.joined(["a"], "two") == Waits(("a",), "two")
    assert before.joined(["a"], "") == Waits(("a", "b"), "one")
    # From the boot on that is known, the next one ends it.
    assert Waits(("b",), "").joined(["a"], "one") == Waits(("a", "b"), "one")
    assert str(before) == "not in force until a reboot: b"
    assert not str(Waits())


def test_what_is_recorded_holds_no_value_and_is_private(dev: Environment, running: Running) -> None:
    found = send(dev, config(), config(etcd="2", variable="2"))
    assert found == Waits(("cluster.etcd", "machine.env"), "one")
    path = dev.paths.waits(dev.workers[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in path.read_text()
    # As the version says: up to 1.13 a node refuses such a change of machine.env.
    running.talos, running.boot = "v1.13.9", "two"
    assert send(dev, config(), config(etcd="2", variable="2")) == Waits(("cluster.etcd",), "two")


def test_next_apply_keeps_what_waits(dev: Environment, running: Running) -> None:
    first = send(dev, config(), config(etcd="2"))
    asked = len(running.asked)
    assert send(dev, config(), config(sysctl="2")) == first
    assert len(running.asked) == asked  # a change that waits nowhere costs no call
    assert send(dev, config(), config(variable="2")).settings == ("cluster.etcd", "machine.env")
    running.boot = "two"
    assert send(dev, config(), config(variable="2")).settings == ("machine.env",)


def test_node_that_does_not_tell_its_boot_waits(dev: Environment, running: Running) -> None:
    running.boot = ""
    assert send(dev, config(), config(etcd="2")) == Waits(("cluster.etcd",), "")
    running.boot = "two"
    assert waits.still(dev, dev.workers[0]).settings == ("cluster.etcd",)


@pytest.mark.parametrize(
    ("failure", "kept"),
    [(Failure.REJECTED, False), (Failure.NEEDS_REBOOT, False), (Failure.UNREACHABLE, True)],
)
def test_what_was_refused_is_taken_back(
    dev: Environment, running: Running, failure: Failure, kept: bool
) -> None:
    """And what nobody knows of is kept: the node may have it."""
    with pytest.raises(CallError), waits.sending(dev, dev.workers[0], config(), config(etcd="2")):
        raise CallError(failure, "in talosctl's words")
    assert bool(waits.recorded(dev, dev.workers[0]).settings) is kept


def test_who_asks_no_node_goes_by_what_is_recorded(dev: Environment, running: Running) -> None:
    assert not waits.advice(dev)
    send(dev, config(), config(etcd="2"))
    told = [
        "  worker_1: not in force until a reboot: cluster.etcd",
        "    -> snakemake reboot --config env=dev node=worker_1",
    ]
    assert waits.advice(dev) == told
    assert "\n".join(told) in status.summary(dev)


def test_third_state_of_a_diff(dev: Environment, small: Project) -> None:
    node = dev.workers[0]
    seen = diff.NodeDiff(
        node,
        "has what is in Git, not in force until a reboot: cluster.etcd",
        differs=False,
        waits=("cluster.etcd",),
        way_on=waits.way_on(dev, node),
    )
    assert diff.report(dev, [seen], diff.Against.LIVE) == (
        "dev/worker_1: has what is in Git, not in force until a reboot: cluster.etcd\n"
        "  -> snakemake reboot --config env=dev node=worker_1\n"
        "dev: 0 of 1 node differ from Git, 1 has to be rebooted"
    )


def test_old_markers_say_that_nothing_waits(dev: Environment) -> None:
    assert waits.recorded(dev, dev.workers[0]) == Waits()
    marker.write(dev.paths.waits(dev.workers[0]), step="waits", settings=["a"])
    assert waits.recorded(dev, dev.workers[0]) == Waits(("a",), "")
