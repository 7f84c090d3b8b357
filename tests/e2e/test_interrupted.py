"""Interrupted at any point, the same command run again finishes the work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest

from tests.project import Project, files_below

UP = ("-j4", "--config", "env=lab")


def _bootstraps(lab: Project) -> int:
    log = lab.read(".simulator/lab/log").splitlines()
    return len([line for line in log if "Bootstrap" in line and line.rstrip().endswith("OK")])


def _assert_up(lab: Project, network: str) -> None:
    members = lab.talosctl("lab", f"{network}.11", "etcd", "members").output
    assert members.count("https://") == 6, members
    markers = list((lab.root / "rendered_configs/lab/state").glob("*.applied"))
    assert len(markers) == 5
    for marker in markers:
        assert json.loads(marker.read_text())["step"] == "applied"
    assert lab.ok(*UP).jobs == set()
    assert not [path for path in files_below(lab.root) if path.name.endswith(".tmp")]


def _killed_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a run and all it started; False if it has ended before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_killed_five_times_at_random_points(lab: Project, network: str) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311 - points in time, no cryptography
    begun = time.monotonic()
    # Started as those that are killed are.
    first = lab.start("-j4", ".simulator/lab/ready", "--config", "env=lab")
    shown = first.communicate(timeout=120)[0]
    assert first.returncode == 0, shown
    at_work = time.monotonic() - begun
    # From the first job on; what was done before a kill is not done again, so runs get shorter.
    killed = [_killed_after(lab.start(*UP), at_work * chance.uniform(0.8, 1.4)) for _ in range(5)]
    print(f"killed {killed.count(True)} times")
    assert killed[0]
    lab.ok(*UP)
    _assert_up(lab, network)
    assert _bootstraps(lab) == 1


@pytest.mark.parametrize("marker", ["controlplane-cp_1.validated", "controlplane-cp_1.applied"])
def test_killed_when_a_step_has_just_been_done(lab: Project, network: str, marker: str) -> None:
    lab.ok("-j4", ".simulator/lab/ready", "--config", "env=lab")
    process = lab.start(*UP)
    path = lab.root / "rendered_configs/lab/state" / marker
    end = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert path.exists()
    lab.ok(*UP)
    _assert_up(lab, network)
    assert _bootstraps(lab) == 1


def test_what_a_kill_leaves_of_snakemake_needs_no_flags(dev: Project) -> None:
    """Its locks, and its notes on outputs that are not complete."""
    process = dev.start("-j1", "--config", "env=dev")
    incomplete = dev.root / ".snakemake/incomplete"
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if incomplete.is_dir() and any(incomplete.iterdir()):
            # It may have gone on meanwhile, to a moment between two jobs.
            os.killpg(process.pid, signal.SIGSTOP)
            if any(incomplete.iterdir()):
                break
            os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert any(incomplete.iterdir())
    # As runs without this project's profile leave them.
    for name in ("input", "output"):
        dev.write(f".snakemake/locks/0.{name}.lock", f"{dev.root}/rendered_configs/dev/apply.sh\n")
    dev.ok("-j4", "--config", "env=dev")
    assert not any(incomplete.iterdir())


def test_what_a_kill_leaves_of_a_file_goes_also_where_the_file_is_good(dev: Project) -> None:
    dev.ok("-j4", "--config", "env=dev")
    for name in (".talosconfig.made.tmp", ".talosconfig.made.2.tmp"):
        dev.write(f"rendered_configs/dev/state/{name}", "{")
    dev.remove("rendered_configs/dev/apply.sh")
    assert dev.ok("-j4", "--config", "env=dev").jobs == {"apply_script:dev"}
    assert not [path for path in files_below(dev.root) if path.name.endswith(".tmp")]


def test_ctrl_c_ends_a_wait_at_once(metal: Project, network: str) -> None:
    metal.environment("metal", "NODE_TIMEOUT=600\n")
    metal.node("metal", "control_planes", "cp_1", f"{network}.98")
    process = metal.start("apply", "-j4", "--config", "env=metal")
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if "waiting for the Talos API" in line:
            break
    assert "metal/cp_1: waiting for the Talos API" in shown
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=120)[0]
    assert time.monotonic() - start < 60  # of 600
    assert process.returncode != 0
    assert "Traceback" not in rest
    # The address fixed, the same command finishes.
    metal.node("metal", "control_planes", "cp_1", f"{network}.11")
    metal.ok("apply", "-j4", "--config", "env=metal")


def test_two_runs_do_not_mix(lab: Project, network: str) -> None:
    lab.ok("-j4", ".simulator/lab/ready", "--config", "env=lab")
    faults = {f"{network}.11": [{"fault": "refuse"}]}
    lab.write(".simulator/lab/faults.json", json.dumps(faults))
    # Longer than the other two runs take, however busy the machine is.
    facts = lab.read("patches/envs/lab/cluster.env").replace("NODE_TIMEOUT=30", "NODE_TIMEOUT=120")
    lab.write("patches/envs/lab/cluster.env", facts)
    first = lab.start(*UP)
    assert first.stdout is not None
    for line in first.stdout:
        if "waiting for" in line:
            break
    for command in (UP, ("reset", "--config", "env=lab", "confirm=lab")):
        error = lab.fails(*command)
        assert "another run is at work on this environment" in error
    lab.remove(".simulator/lab/faults.json")
    rest = first.communicate(timeout=120)[0]
    assert first.returncode == 0, rest
