"""What differs between Git and the nodes, with the real talosctl and simulated nodes."""

from __future__ import annotations

import json

import pytest

from tests.project import Project

UP = ("-j4", "--config", "env=lab")
DIFF = ("diff", "-q", "all", "--config", "env=lab")
_CHANGE = "machine:\n  nodeLabels:\n    zone: north-1\n  sysctls:\n    vm.swappiness: '{}'\n"
# With its key: a config's certificates may have any two digits.
_TRIED = 'vm.swappiness: "61"'
_NEEDS_REBOOT = "machine:\n  env:\n    A_NAME: x\n"


@pytest.fixture
def up(running: Project) -> Project:
    running.patch("lab", "workers", "worker_1", _CHANGE.format(7))
    running.ok(*UP)
    return running


def diff(lab: Project, code: int, *arguments: str) -> str:
    run = lab.snakemake(*DIFF, *arguments)
    assert run.code == code, run.output
    assert "Traceback" not in run.output
    return run.output


def _sent(lab: Project) -> int:
    return lab.read(".simulator/lab/log").count("ApplyConfiguration")


def _config(lab: Project, address: str, identifier: str) -> str:
    answer = lab.talosctl("lab", address, "get", "machineconfig", identifier, "-o", "json")
    assert answer.code == 0, answer.output
    return str(answer.answer["spec"])


def _fault(lab: Project, address: str, fault: str) -> None:
    temporary = lab.write(".simulator/lab/faults.tmp", json.dumps({address: [{"fault": fault}]}))
    temporary.rename(lab.root / ".simulator/lab/faults.json")


def test_what_git_changes(up: Project, network: str) -> None:
    shown = diff(up, 0)
    assert shown.count(": runs what is in Git\n") == 5
    assert "lab: 0 of 5 nodes differ from Git" in shown
    assert diff(up, 0, "against=applied").count(": is what was last applied\n") == 5

    up.patch("lab", "workers", "worker_1", _CHANGE.format(8))
    up.patch("lab", "workers", "worker_2", _NEEDS_REBOOT)
    up.node("lab", "workers", "worker_3", f"{network}.23")
    sent = _sent(up)
    shown = diff(up, 2)
    assert "lab/worker_1: differs; applying it needs no reboot\n" in shown
    hunk = shown.partition("+++ worker-worker_1 in Git\n")[2].partition("lab/worker_2")[0]
    assert "@@ machine.sysctls\n" in hunk
    assert "\n-    vm.swappiness: 7\n+    vm.swappiness: 8\n" in hunk
    assert "lab/worker_2: differs; applying it reboots the node\n" in shown
    assert "+  env:\n+    A_NAME: x\n" in shown
    assert f"lab/worker_3: new: in maintenance mode at {network}.23\n" in shown
    assert "lab: 3 of 6 nodes differ from Git" in shown
    assert _sent(up) == sent + 2  # the two dry runs
    assert 'vm.swappiness: "7"' in _config(up, f"{network}.21", "v1alpha1")

    up.ok("simulator_stop", *UP)
    shown = diff(up, 2, "against=applied")
    assert "lab/worker_1: differs from what was last applied\n" in shown
    assert "\n-    vm.swappiness: 7\n+    vm.swappiness: 8\n" in shown
    assert "lab/worker_3: new: nothing was applied to it from here\n" in shown


def test_what_was_changed_by_hand(up: Project, network: str) -> None:
    """What Git does not know is shown only where it cannot be a secret."""
    patch = (
        '{"machine": {"sysctls": {"vm.swappiness": "60", "kernel.domainname": "Pa55-of-old"}, '
        '"nodeLabels": {"zone": "south-1"}}}'
    )
    changed = up.talosctl("lab", f"{network}.21", "patch", "machineconfig", "--patch", patch)
    assert changed.code == 0, changed.output
    shown = diff(up, 2, "node=worker_1")
    assert "-    vm.swappiness: 60\n+    vm.swappiness: 7\n" in shown
    assert "-    kernel.domainname: <redacted" in shown
    assert "-    zone: <redacted" in shown
    assert "+    zone: north-1\n" in shown
    assert "Pa55" not in shown
    assert "lab: 1 of 1 node differ from Git" in shown


def test_what_is_staged_or_tried(up: Project, network: str) -> None:
    """A dry run would make permanent what is only tried, so none is made then."""
    patch = '{"machine": {"sysctls": {"vm.swappiness": "61"}}}'
    arguments = ("patch", "machineconfig", "--patch", patch)
    tried = up.talosctl("lab", f"{network}.21", *arguments, "--mode", "try", "--timeout", "90s")
    assert tried.code == 0, tried.output
    staged = up.talosctl("lab", f"{network}.22", *arguments, "--mode", "staged")
    assert staged.code == 0, staged.output
    sent = _sent(up)
    shown = diff(up, 2)
    pending = "a staged or tried config is pending on it"
    assert f"lab/worker_1: differs; {pending}" in shown
    assert f"lab/worker_2: runs what is in Git; {pending}" in shown
    assert _sent(up) == sent
    assert _TRIED in _config(up, f"{network}.21", "v1alpha1")
    assert _TRIED not in _config(up, f"{network}.21", "persistent")

    # Git is the truth: what was staged is to be gone, and so is what was tried.
    shown = up.ok("refresh", *UP).output
    assert shown.count("runs another config than the one applied, or will after its next") == 2
    up.ok("apply", *UP)
    for node in (f"{network}.21", f"{network}.22"):
        assert _TRIED not in _config(up, node, "v1alpha1") + _config(up, node, "persistent")
    assert up.talosctl("lab", f"{network}.21", "get", "machineconfig", "none").output.count(
        "NotFound"
    )


def test_what_cannot_be_compared_is_an_error(up: Project, network: str) -> None:
    _fault(up, f"{network}.22", "refuse")
    up.patch("lab", "workers", "worker_1", _CHANGE.format(8))
    shown = diff(up, 1)
    assert "+    vm.swappiness: 8\n" in shown
    assert "lab/worker_2: cannot be compared\n" in shown
    assert "lab: 1 of 5 nodes differ from Git, 1 cannot be compared" in shown
    error = up.fails("diff", *UP)
    assert "lab/worker_2: does not answer, so nobody can say what it runs" in error
    assert "against=applied" in error
    # Nothing was applied to it from here: perhaps there is no machine yet.
    (up.root / "rendered_configs/lab/state/worker-worker_2.applied").unlink()
    assert "lab/worker_2: new, or powered off: nothing answers" in diff(up, 2)


def test_node_of_another_cluster_is_an_error(up: Project, network: str) -> None:
    _fault(up, f"{network}.22", "wrong-certificate")
    error = up.fails("diff", "--config", "env=lab", "node=worker_2")
    assert "belongs to another cluster" in error


def test_node_that_left_git_differs(up: Project) -> None:
    up.remove("patches/envs/lab/workers/worker_2")
    assert "lab: no longer in Git, not reset: worker_2\n" in diff(up, 2)
