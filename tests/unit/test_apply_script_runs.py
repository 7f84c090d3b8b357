"""apply.sh with a talosctl that answers as it is told: what it does then, and leaves alone."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import inventory
from scripts.apply_script import write_apply_script
from scripts.model import Environment
from tests.project import Project, Run

CP_1, CP_2, CP_3 = "10.9.0.11", "10.9.0.12", "10.9.0.13"
CONFIG = "cluster:\n  id: this-one\n"
REFUSED = "! rpc error: code = Unavailable desc = connection refused"
TOO_EARLY = "! rpc error: code = FailedPrecondition desc = bootstrap is not available yet"
# The next line of the file for this node and call, or else for every node; the last one stays.
TALOSCTL = r"""#!/usr/bin/env bash
here=${0%/*} all=$*
[[ $all =~ \ -n\ ([0-9.]+) ]] && node=${BASH_REMATCH[1]}
[[ $all =~ \ --mode\ ([a-z-]+) ]] && mode=" ${BASH_REMATCH[1]}"
call=${all%% [-/]*}${mode:-}
file="$here/$node $call"
[[ -e $file ]] || file="$here/$call"
mapfile -t answers <"$file"
((${#answers[@]} == 1)) || printf '%s\n' "${answers[@]:1}" >"$file"
printf '%s\n' "$node $call: ${answers[0]}" >>"$here/log"
case ${answers[0]} in
  hang) exec /bin/sleep 60 ;;
  '! '*) printf '%s\n' "${answers[0]#! }" >&2; exit 1 ;;
  *) printf '%b\n' "${answers[0]}" ;;
esac
"""
# Instead of whole seconds between two tries.
SLEEP = "#!/bin/sh\nexec /bin/sleep 0.05\n"


@dataclass
class Nodes:
    """Three control planes that run and take every config, unless told otherwise."""

    project: Project
    answers: Path

    def tell(self, call: str, *answers: str, node: str = "") -> None:
        """Set what a call is answered with, one after the other.

        :param call: talosctl's words before the first flag, and ``--mode``'s value.
        :param answers: ``! words`` for an error; ``hang`` for none.
        :param node: the address; without one, what all others answer.
        """
        (self.answers / f"{node} {call}".strip()).write_text("".join(f"{a}\n" for a in answers))

    @property
    def log(self) -> list[str]:
        """Every call, as ``address call: answer``, in order."""
        return (self.answers / "log").read_text().splitlines()

    def run(self, *arguments: str, **facts: object) -> Run:
        """Run the environment's apply.sh; that it ends within 20 s belongs to every test."""
        told = {"NODE_TIMEOUT": 60, "ETCD_TIMEOUT": 60, **facts}
        self.project.environment("dev", "".join(f"{key}={told[key]}\n" for key in told))
        environment = inventory.load("dev")
        _validated(environment)
        write_apply_script(environment)
        done = subprocess.run(
            ["bash", environment.paths.apply_script, *arguments],
            env={"PATH": f"{self.answers}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=20,
            check=False,
        )
        return Run(done.returncode, done.stdout)


def _validated(environment: Environment) -> None:
    """Leave what 'snakemake validate' leaves, as far as apply.sh looks at it."""
    digest = hashlib.sha256(CONFIG.encode()).hexdigest()
    for node in environment.nodes:
        marker = environment.paths.root / f"state/{node.role}-{node.name}.validated"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f'  "sha256": "{digest}"\n')
        environment.paths.config(node).write_text(CONFIG)
    environment.paths.talosconfig.write_text("")


@pytest.fixture
def nodes(small: Project, tmp_path: Path) -> Nodes:
    small.node("dev", "control_planes", "cp_2", CP_2)
    small.node("dev", "control_planes", "cp_3", CP_3)
    small.remove("patches/envs/dev/workers")
    answers = tmp_path / "talosctl"
    answers.mkdir()
    for name, text in (("talosctl", TALOSCTL), ("sleep", SLEEP)):
        (answers / name).write_text(text)
        (answers / name).chmod(0o755)
    made = Nodes(small, answers)
    made.tell("get machinestatus", "running")
    made.tell("get machinetype", "spec: controlplane")
    made.tell("get infos.cluster.talos.dev", "clusterId: this-one")
    made.tell("apply-config no-reboot", "Applied configuration without a reboot")
    made.tell("apply-config reboot", "Applied configuration with a reboot")
    made.tell("service etcd", r"ID     etcd\nSTATE  Running")
    urls = r"\n".join(f"https://{address}:2379" for address in (CP_1, CP_2, CP_3))
    made.tell("etcd members", rf"CLIENT URLS\n{urls}")
    made.tell("etcd status", r"NODE  LEARNER  ERRORS\nnode  false")
    for address in (CP_1, CP_2, CP_3):
        made.tell("read", "boot-1", "boot-2", node=address)
    made.tell("list", ".")
    made.tell("bootstrap", "")
    made.tell("kubeconfig", "")
    return made


def _states(*states: str) -> list[str]:
    return [state if state.startswith("!") else rf"ID  etcd\nSTATE  {state}" for state in states]


def _bootstraps(nodes: Nodes) -> int:
    return len([line for line in nodes.log if " bootstrap:" in line])


@pytest.mark.parametrize("state", ["Failed", "Stopping", "Finished"])
def test_no_second_etcd_beside_one_that_is_down(nodes: Nodes, state: str) -> None:
    """The first control plane's disk was replaced."""
    nodes.tell("service etcd", *_states("Preparing"), node=CP_1)
    nodes.tell("service etcd", *_states(state), node=CP_3)
    # Whether the other one runs etcd or lost it as well.
    for other in ("Running", "Preparing"):
        nodes.tell("service etcd", *_states(other), node=CP_2)
        run = nodes.run("--bootstrap")
        assert run.code == 1, run.output
        assert (
            f"{CP_3}: its etcd is {state}; the cluster is not bootstrapped while an etcd may have "
            "data, because a second one would be founded beside it\n  -> Look at it: talosctl "
        ) in run.output
        assert f"-n {CP_3} -e {CP_3} service etcd\n" in run.output
        assert _bootstraps(nodes) == 0


def test_fresh_control_planes_are_bootstrapped_once(nodes: Nodes) -> None:
    for address, state in ((CP_1, "Preparing"), (CP_2, "Waiting"), (CP_3, "Pre")):
        nodes.tell("service etcd", *_states(state, state, "Running"), node=address)
    nodes.tell("bootstrap", TOO_EARLY, "")
    run = nodes.run("--bootstrap")
    assert run.code == 0, run.output
    assert f"bootstrapped etcd on {CP_1}" in run.output
    assert "etcd has its 3 members" in run.output
    assert _bootstraps(nodes) == 2


def test_every_control_plane_is_asked_before_each_attempt(nodes: Nodes) -> None:
    """Another one's etcd comes while the first is too early; once, it gives no answer."""
    nodes.tell("service etcd", *_states("Preparing", "Preparing", "Running"), node=CP_1)
    nodes.tell("service etcd", *_states("Preparing", REFUSED, "Running"), node=CP_2)
    nodes.tell("service etcd", *_states("Preparing", "Running"), node=CP_3)
    nodes.tell("bootstrap", TOO_EARLY, "")
    run = nodes.run("--bootstrap")
    assert run.code == 0, run.output
    assert f"etcd runs on {CP_2}, {CP_3} already; not bootstrapped again" in run.output
    assert _bootstraps(nodes) == 1


@pytest.mark.parametrize("starts", [True, False])
def test_no_second_etcd_beside_one_that_has_yet_to_start(nodes: Nodes, starts: bool) -> None:
    """The power was off, and the first control plane has a new disk."""
    nodes.tell("service etcd", *_states("Preparing"), node=CP_1)
    later = _states("Preparing", "Running" if starts else "Preparing")
    for address in (CP_2, CP_3):
        nodes.tell("service etcd", *later, node=address)
        nodes.tell("list", r".\nmember", node=address)
    nodes.tell("service etcd", *_states("Preparing", "Preparing", "Running"), node=CP_1)
    run = nodes.run("--bootstrap", NODE_TIMEOUT=60 if starts else 0)
    assert run.code == (0 if starts else 1), run.output
    said = (
        f"etcd runs on {CP_2}, {CP_3} already; not bootstrapped again"
        if starts
        else f"waited 0 s for the etcd with data on {CP_2}, {CP_3} to start; not bootstrapped"
    )
    assert said in run.output
    assert _bootstraps(nodes) == 0


def test_whether_etcd_has_been_there_has_to_be_known(nodes: Nodes) -> None:
    nodes.tell("service etcd", *_states("Preparing"))
    nodes.tell("list", REFUSED, node=CP_3)
    nodes.tell("list", "! lstat /var/lib/etcd: no such file or directory", node=CP_2)
    run = nodes.run("--bootstrap")
    assert run.code == 1
    assert f"{CP_3} cannot be asked whether etcd has been on its disk: rpc error" in run.output
    assert _bootstraps(nodes) == 0


def test_no_reboot_while_others_have_to_join(nodes: Nodes) -> None:
    """One of three was reset: of the two members, none may go."""
    nodes.tell("etcd members", rf"CLIENT URLS\nhttps://{CP_1}:2379\nhttps://{CP_2}:2379")
    run = nodes.run(APPLY_MODE="reboot", ETCD_TIMEOUT=0)
    assert run.code == 1
    assert (
        "cp_1: waited 0 s for etcd to be healthy: 2 of 3 control planes are in it: without "
        f"{CP_1} it would have no quorum"
    ) in run.output
    assert not [line for line in nodes.log if " apply-config" in line]


def test_etcd_that_fails_meanwhile_ends_the_attempts(nodes: Nodes) -> None:
    nodes.tell("service etcd", *_states("Preparing"))
    nodes.tell("service etcd", *_states("Preparing", "Failed"), node=CP_2)
    nodes.tell("bootstrap", TOO_EARLY, "")
    run = nodes.run("--bootstrap")
    assert run.code == 1
    assert f"{CP_2}: its etcd is Failed" in run.output
    assert _bootstraps(nodes) == 1


def test_lost_answer_to_bootstrap(nodes: Nodes) -> None:
    nodes.tell("service etcd", *_states("Preparing", "Running"), node=CP_1)
    nodes.tell("service etcd", *_states("Preparing", "Preparing", "Running"), node=CP_2)
    nodes.tell("service etcd", *_states("Preparing", "Preparing", "Running"), node=CP_3)
    nodes.tell("bootstrap", "hang")
    run = nodes.run("--bootstrap", CALL_TIMEOUT=1)
    assert run.code == 0, run.output
    assert f"bootstrap of {CP_1}: trying again: no answer within 1 s" in run.output
    assert f"etcd runs on {CP_1} already; not bootstrapped again" in run.output
    assert _bootstraps(nodes) == 1


def test_next_reboot_waits_for_another_boot_id(nodes: Nodes) -> None:
    """A node that goes down fails a call, answers nothing, and still shows the boot before."""
    nodes.tell("read", "boot-1", REFUSED, r"\n", "boot-1", "boot-2", node=CP_1)
    run = nodes.run(APPLY_MODE="reboot")
    assert run.code == 0, run.output
    back = nodes.log.index(f"{CP_1} read: boot-2")
    reboots = [n for n, line in enumerate(nodes.log) if " apply-config reboot:" in line]
    assert len(reboots) == 3
    assert reboots[0] < back < reboots[1]


def test_calls_that_hang_do_not_outlast_the_wait_for_a_reboot(nodes: Nodes) -> None:
    nodes.tell("read", "boot-1", "hang", node=CP_1)
    run = nodes.run(APPLY_MODE="reboot", NODE_TIMEOUT=1, CALL_TIMEOUT=1)
    assert run.code == 1
    assert "cp_1: waited 1 s for it to be back after its reboot; no other" in run.output
    assert not [line for line in nodes.log if line.startswith(f"{CP_2} apply-config")]


def test_member_that_does_not_tell_its_status_is_not_healthy(nodes: Nodes) -> None:
    nodes.tell("etcd status", "NODE  LEARNER  ERRORS", node=CP_2)
    run = nodes.run(APPLY_MODE="reboot", ETCD_TIMEOUT=0)
    assert run.code == 1
    assert f"cp_1: waited 0 s for etcd to be healthy: the member at {CP_2} does not" in run.output
    assert not [line for line in nodes.log if " apply-config" in line]


WITHOUT_AN_ANSWER = {
    "get machinetype": "apply.sh: cp_1: no answer within 1 s (talosctl get)",
    "service etcd": "cp_1: cannot be asked about etcd, so it is not rebooted; nothing was sent: "
    "no answer within 1 s (talosctl service)",
    "read": "no answer within 1 s (talosctl read)\napply.sh: cp_1: its boot ID cannot be read",
    "apply-config reboot": "apply.sh: cp_1: no answer within 1 s (talosctl apply-config)",
}


@pytest.mark.parametrize("call", WITHOUT_AN_ANSWER)
def test_call_without_an_answer_is_named(nodes: Nodes, call: str) -> None:
    nodes.tell(call, "hang", node=CP_1)
    run = nodes.run(APPLY_MODE="reboot", CALL_TIMEOUT=1)
    assert run.code == 1
    assert WITHOUT_AN_ANSWER[call] in run.output


def test_maintenance_mode_without_an_answer_is_named(nodes: Nodes) -> None:
    nodes.tell("get machinestatus", REFUSED)
    nodes.tell("get links", "")
    nodes.tell("apply-config", "hang")
    run = nodes.run(CALL_TIMEOUT=1)
    assert run.code == 1
    assert "cp_1: no answer within 1 s (talosctl apply-config)" in run.output


def test_kubeconfig_without_an_answer_is_named(nodes: Nodes) -> None:
    nodes.tell("kubeconfig", "hang")
    run = nodes.run("--bootstrap", CALL_TIMEOUT=1)
    assert run.code == 1
    assert "apply.sh: kubeconfig: no answer within 1 s (talosctl kubeconfig)" in run.output
