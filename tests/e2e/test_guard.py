"""Only the right machine gets a config: what is refused, by the workflow and by apply.sh alike."""

from __future__ import annotations

from tests.project import BIN, Project

APPLY = ("apply", "--config", "env=metal")
_UUID = "4c4c4544-0042-3510-8052-b4c04f4d3332"


def _node(metal: Project, network: str, facts: str) -> None:
    metal.node("metal", "control_planes", "cp_1", f"{network}.11", facts)


def _apply_sh(metal: Project) -> str:
    run = metal.run("bash", "rendered_configs/metal/apply.sh")
    assert run.code == 1, run.output
    return run.output


def _sent(metal: Project) -> int:
    return metal.read("fleet/log").count("ApplyConfiguration")


def test_machine_in_maintenance_mode(metal: Project, network: str) -> None:
    _node(metal, network, f"NODE_MAC=52:54:00:00:00:11\nNODE_UUID={_UUID}\n")
    error = metal.fails(*APPLY)
    found = metal.talosctl("metal", f"{network}.11", "get", "systeminformation", "--insecure")
    assert found.code == 0, found.output
    uuid = found.output.split()[-1]
    assert f"NODE_UUID is {_UUID}, the machine has {uuid}; nothing was sent" in error
    assert f"does not have NODE_UUID {_UUID}; nothing was sent" in _apply_sh(metal)

    _node(metal, network, f"NODE_MAC=52:54:00:00:00:99\nNODE_UUID={uuid.upper()}\n")
    error = metal.fails(*APPLY)
    assert "NODE_MAC is 52:54:00:00:00:99, the machine has 52:54:00:00:00:11" in error
    assert "MAC_CHECK=off in node.env switches" in error
    assert _sent(metal) == 0

    _node(metal, network, f"NODE_MAC=52:54:00:00:00:99\nNODE_UUID={uuid}\nMAC_CHECK=off\n")
    shown = metal.ok(*APPLY).output
    assert "metal/cp_1: MAC_CHECK=off: its MAC address is not compared" in shown
    assert "without NODE_MAC" not in shown
    assert _sent(metal) == 1


def test_nothing_to_tell_machines_apart_is_told_once(metal: Project) -> None:
    assert metal.ok(*APPLY).output.count("metal: without NODE_MAC, so any machine in") == 1
    script = metal.run("bash", "rendered_configs/metal/apply.sh")
    assert script.code == 0, script.output
    assert script.output.count("Without NODE_MAC, so any machine in maintenance mode") == 1


def test_running_node(metal: Project, network: str) -> None:
    """It keeps its machine, its cluster and its role; no switch turns the last two off."""
    metal.ok(*APPLY)
    _node(metal, network, f"NODE_UUID={_UUID}\n")
    metal.patch("metal", "control_planes", "cp_1", "machine: {sysctls: {a: b}}\n")
    assert f"NODE_UUID is {_UUID}, the machine has" in metal.fails(*APPLY)
    assert f"does not have NODE_UUID {_UUID}" in _apply_sh(metal)

    _node(metal, network, "MAC_CHECK=off\n")
    # The same authority, another cluster.
    key, value = '["cluster"]["id"]', '"anotherclustersid"'
    assert metal.run(BIN / "sops", "set", "secrets/metal.yaml", key, value).code == 0
    error = metal.fails(*APPLY)
    assert "runs with another cluster.id: it has" in error
    assert "this cluster's is anotherc…; nothing was sent" in error
    assert "runs with another cluster.id; nothing was sent" in _apply_sh(metal)
    assert _sent(metal) == 1
