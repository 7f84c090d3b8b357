"""Nodes that refuse, hang, drop or reject: the run finishes, or stops with a clear error."""

from __future__ import annotations

import json

import pytest

from tests.project import Project

UP = ("-j4", "--config", "env=lab")


def _fault(lab: Project, address: str, **fault: object) -> None:
    lab.ok("-j4", ".simulator/lab/ready", "--config", "env=lab")
    temporary = lab.write(".simulator/lab/faults.tmp", json.dumps({address: [fault]}))
    temporary.rename(lab.root / ".simulator/lab/faults.json")


def _log(lab: Project, method: str) -> list[str]:
    return [line for line in lab.read(".simulator/lab/log").splitlines() if method in line]


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "drop", "method": "ApplyConfiguration", "times": 1},
        {"fault": "drop", "method": "ApplyConfiguration", "times": 1, "when": "after"},
        {"fault": "hang", "method": "ApplyConfiguration", "times": 1},
        {"fault": "drop", "method": "Bootstrap", "times": 1, "when": "after"},
        {"fault": "hang", "method": "Bootstrap", "times": 1},
        {"fault": "too-early", "times": 2},
        {"fault": "refuse", "times": 3},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_passing_faults_are_overcome(lab: Project, network: str, fault: dict[str, object]) -> None:
    _fault(lab, f"{network}.11", **fault)
    lab.ok(*UP)
    done = [line for line in _log(lab, "Bootstrap") if line.rstrip().endswith("OK")]
    assert len(done) <= 1
    members = lab.talosctl("lab", f"{network}.12", "etcd", "members").output
    assert members.count("https://") == 6, members


def test_rejected_config_stops_with_the_nodes_words(lab: Project, network: str) -> None:
    _fault(lab, f"{network}.21", fault="reject")
    error = lab.fails(*UP)
    assert f"lab/worker_1 ({network}.21)" in error
    assert "simulated rejection" in error
    assert "fix the patches" in error
    assert not (lab.root / "rendered_configs/lab/state/worker-worker_1.applied").exists()
    lab.remove(".simulator/lab/faults.json")
    lab.ok(*UP)


def test_node_with_a_foreign_certificate_is_refused(running: Project, network: str) -> None:
    lab = running
    _fault(lab, f"{network}.22", fault="wrong-certificate")
    lab.patch("lab", "workers", "worker_2", "machine:\n  sysctls:\n    vm.swappiness: '7'\n")
    error = lab.fails(*UP)
    assert "belongs to another cluster" in error
    sent = [line for line in _log(lab, "ApplyConfiguration") if f"{network}.22" in line]
    assert len(sent) == 1, sent


def test_slow_reboot_is_waited_for(lab: Project, network: str) -> None:
    _fault(lab, f"{network}.12", fault="slow-reboot", seconds=5)
    run = lab.ok(*UP)
    assert "lab/cp_2: waiting for the secure API" in run.output


def test_lost_first_control_plane_does_not_found_a_second_etcd(
    running: Project, network: str
) -> None:
    lab = running
    reset = lab.talosctl("lab", f"{network}.11", "reset", "--graceful=false", "--reboot")
    assert reset.code == 0, reset.output
    lab.ok("refresh", "--config", "env=lab")
    (lab.root / "rendered_configs/lab/state/bootstrapped").unlink(missing_ok=True)
    run = lab.ok(*UP)
    assert "lab: etcd already runs on" in run.output
    assert len(_log(lab, "Bootstrap")) == 1
