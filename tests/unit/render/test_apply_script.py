"""apply.sh with a talosctl that answers as it is told: what it does then, and leaves alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from talosmake.base import marker as base_marker
from talosmake.base.errors import BusyError
from talosmake.base.tools import TALOSCTL
from talosmake.inventory import environments, locks
from talosmake.inventory.model import Environment
from talosmake.inventory.removed import removed_nodes
from talosmake.render.apply_script import write_apply_script
from talosmake.workflow import jobs
from tests.project import Project, Run

CP_1, CP_2, CP_3 = "10.9.0.11", "10.9.0.12", "10.9.0.13"
CONFIG = "cluster:\n  id: this-one\n"
REFUSED = "! rpc error: code = Unavailable desc = connection refused"
TOO_EARLY = "! rpc error: code = FailedPrecondition desc = bootstrap is not available yet"
# The next line of the file for this node and call, or else for every node; the last one stays.
FAKE = r"""#!/usr/bin/env bash
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
  hang) exec /bin/sleep 120 ;;
  '! '*) printf '%b\n' "${answers[0]#! }" >&2; exit 1 ;;
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

    @property
    def variables(self) -> dict[str, str]:
        return {"PATH": f"{self.answers}:/usr/bin:/bin", "HOME": str(self.project.root)}

    @property
    def state(self) -> Path:
        return self.project.root / "rendered_configs/dev/state"

    def sent(self, address: str = "") -> list[str]:
        """The calls by which a config was sent, to one address or any."""
        calls = [line.partition(":")[0] for line in self.log]
        return [call for call in calls if call.startswith(address) and " apply-config" in call]

    def run(self, *arguments: str, **facts: object) -> Run:
        """Run apply.sh; that it waits for none of its longer time-outs belongs to every test."""
        told = {"NODE_TIMEOUT": 90, "ETCD_TIMEOUT": 90, **facts}
        self.project.environment("dev", "".join(f"{key}={told[key]}\n" for key in told))
        environment = environments.load("dev")
        _validated(environment)
        write_apply_script(environment)
        done = subprocess.run(
            ["bash", environment.paths.apply_script, *arguments],
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
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
    own = f"talosctl-{'.'.join(TALOSCTL.pinned.split('.')[:2])}"
    for name, text in ((own, FAKE), ("talosctl", FAKE), ("sleep", SLEEP)):
        (answers / name).write_text(text)
        (answers / name).chmod(0o755)
    made = Nodes(small, answers)
    made.tell("version", rf"Client:\nTalos v{TALOSCTL.pinned}")
    made.tell("get machinestatus", "running")
    made.tell("get machinetype", "spec: controlplane")
    made.tell("get infos.cluster.talos.dev", "clusterId: this-one")
    made.tell("apply-config no-reboot", "Applied configuration without a reboot")
    made.tell("service etcd", r"ID     etcd\nSTATE  Running")
    urls = r"\n".join(f"https://{address}:2379" for address in (CP_1, CP_2, CP_3))
    made.tell("etcd members", rf"CLIENT URLS\n{urls}")
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
            "data; look at it: talosctl "
        ) in run.output
        assert f"-n {CP_3} -e {CP_3} service etcd\n" in run.output
        assert _bootstraps(nodes) == 0


def test_fresh_control_planes_are_bootstrapped_once(nodes: Nodes) -> None:
    for address, state in ((CP_1, "Preparing"), (CP_2, "Waiting"), (CP_3, "Pre")):
        nodes.tell("service etcd", *_states(state, state, "Running"), node=address)
    nodes.tell("bootstrap", TOO_EARLY, "")
    run = nodes.run("--bootstrap")
    assert run.code == 0, run.output
    assert f"waiting: bootstrap of {CP_1}: {TOO_EARLY[2:]}\n" in run.output
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
    assert f"etcd runs on {CP_3} already; not bootstrapped again" in run.output
    assert _bootstraps(nodes) == 1


@pytest.mark.parametrize("starts", [True, False])
def test_no_second_etcd_beside_one_that_has_yet_to_start(nodes: Nodes, starts: bool) -> None:
    """The power was off, and the first control plane has a new disk."""
    nodes.tell("service etcd", *_states("Preparing"), node=CP_1)
    later = _states("Preparing", "Running" if starts else "Preparing")
    for address in (CP_2, CP_3):
        nodes.tell("service etcd", *later, node=address)
        nodes.tell("list", r".\nmember", node=address)
    if starts:
        nodes.tell("service etcd", *_states("Preparing", "Preparing", "Running"), node=CP_1)
    run = nodes.run("--bootstrap", NODE_TIMEOUT=90 if starts else 1)
    assert run.code == (0 if starts else 1), run.output
    said = (
        f"etcd runs on {CP_2} {CP_3} already; not bootstrapped again"
        if starts
        else f"timed out: bootstrap of {CP_1}: the etcd with data on {CP_3} has yet to start"
    )
    assert said in run.output
    assert _bootstraps(nodes) == 0


def test_whether_etcd_has_been_there_has_to_be_known(nodes: Nodes) -> None:
    nodes.tell("service etcd", *_states("Preparing"))
    nodes.tell("list", REFUSED, node=CP_3)
    nodes.tell("list", "! lstat /var/lib/etcd: no such file or directory", node=CP_2)
    run = nodes.run("--bootstrap", NODE_TIMEOUT=1)
    assert run.code == 1
    assert f"{CP_3} cannot be asked whether etcd has been on its disk: rpc error" in run.output
    assert _bootstraps(nodes) == 0


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
    assert f"waiting: bootstrap of {CP_1}: no answer within 1 s" in run.output
    assert f"etcd runs on {CP_1} already; not bootstrapped again" in run.output
    assert _bootstraps(nodes) == 1


def test_no_running_node_is_rebooted(nodes: Nodes) -> None:
    """Which need it is said, and the others get their config."""
    refused = "! this config change can't be applied in immediate mode\\ndiff: -token: hunter2"
    nodes.tell("apply-config no-reboot", refused, node=CP_2)
    run = nodes.run(APPLY_MODE="reboot")
    assert run.code == 1
    said = f"cp_2 ({CP_2}, running): its new config needs a reboot; nothing was changed\n"
    assert said in run.output
    assert run.output.endswith(
        "apply.sh: need a reboot to take their new config: cp_2\n"
        "  -> 'snakemake up --config env=dev' does it, one at a time. By hand: --mode staged, "
        "then talosctl reboot\n"
    )
    assert "hunter2" not in run.output
    assert nodes.sent() == [f"{cp} apply-config no-reboot" for cp in (CP_1, CP_2, CP_3)]


@pytest.mark.parametrize("answer", [REFUSED, "hang"])
def test_machine_is_recorded_before_it_is_sent_anything(nodes: Nodes, answer: str) -> None:
    """So 'up' asks it again, though its marker says that it has what Git said then."""
    nodes.state.mkdir(parents=True)
    for name in ("cp_1", "cp_2"):
        (nodes.state / f"controlplane-{name}.applied").write_text("{}")
    nodes.tell("apply-config no-reboot", answer, node=CP_1)
    assert nodes.run(CALL_TIMEOUT=1).code == 1
    environment = environments.load("dev")
    cp_1, cp_2 = environment.control_planes[:2]
    said = base_marker.read(environment.paths.machine_of(cp_1))
    assert (said["node"], said["address"], said["endpoint"]) == ("cp_1", CP_1, CP_1)
    assert (said["hostname"], said["mac"], said["uuid"]) == ("cp-1", cp_1.mac, "")
    assert said["maintenance_address"] == CP_1
    assert not environment.paths.applied(cp_1).exists()
    # The next one was not touched.
    assert environment.paths.applied(cp_2).exists()
    assert not environment.paths.machine_of(cp_2).exists()
    # Removed from Git, it is not forgotten.
    nodes.project.remove("patches/envs/dev/control_planes/cp_1")
    [removed] = removed_nodes(environments.load("dev"))
    assert (removed.name, removed.address) == ("cp_1", CP_1)


def test_without_a_record_nothing_is_sent(nodes: Nodes) -> None:
    (nodes.state / "controlplane-cp_1.new").mkdir(parents=True)
    assert nodes.run().code == 1
    assert not nodes.sent()


def test_run_and_apply_sh_keep_each_other_out(nodes: Nodes) -> None:
    nodes.run("--dry-run")
    environment = environments.load("dev")
    (nodes.answers / "log").touch()
    cluster_lock = nodes.project.root / ".cache/talosmake/locks"
    cluster_lock /= locks.roll_out_path(environment.cluster).name
    cluster_lock.parent.mkdir(parents=True, exist_ok=True)
    for path, who in (
        (nodes.state / "lock", "dev: another run is at work on this environment"),
        (cluster_lock, "dev: another process changes nodes of this cluster"),
    ):
        with path.open("a") as held:
            held.write("4711")
            held.flush()
            fcntl.flock(held, fcntl.LOCK_EX)
            run = nodes.run()
        assert run.code == 1
        assert f"apply.sh: {who} (process 4711); wait until it ends" in run.output
        path.write_text("")
    assert not [line for line in nodes.log if not line.startswith(" version")]
    assert nodes.run().code == 0


def test_run_is_kept_out_while_apply_sh_is_at_work(nodes: Nodes) -> None:
    nodes.tell("get machinestatus", "hang")
    nodes.run("--dry-run")
    (nodes.answers / "log").touch()
    script = environments.load("dev").paths.apply_script
    with subprocess.Popen(["bash", script], env=nodes.variables, start_new_session=True) as running:
        try:
            _wait_for(lambda: (nodes.answers / "log").read_text().count("machinestatus") > 0)
            with pytest.raises(BusyError, match=f"another run .* \\(process {running.pid}\\)"):
                jobs.lock_environment("dev", nodes.state)
        finally:
            os.killpg(running.pid, signal.SIGKILL)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_without_flock_nothing_is_done(nodes: Nodes) -> None:
    nodes.run("--dry-run")
    for program in ("bash", "sed", "awk", "cat", "mkdir", "dirname", "timeout"):
        (nodes.answers / program).symlink_to(shutil.which(program) or "")
    script = environments.load("dev").paths.apply_script
    done = subprocess.run(
        ["/bin/bash", script],
        env={**nodes.variables, "PATH": str(nodes.answers)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "apply.sh: flock is not on PATH (package util-linux)" in done.stderr
    assert not (nodes.answers / "log").exists()


@pytest.mark.parametrize("found", ["1.12.5", "1.14.1", f"{TALOSCTL.pinned}-dirty"])
def test_another_talosctl_sends_nothing(nodes: Nodes, found: str) -> None:
    nodes.tell("version", rf"Client:\nTalos v{found}")
    run = nodes.run()
    assert run.code == 1
    assert (
        f"apply.sh: talosctl {TALOSCTL.pinned} is needed, as it made the configs; found: Talos "
        f"v{found}; put it on PATH ('make setup', or 'talosmake setup', builds what is pinned)\n"
    ) in run.output
    assert len(nodes.log) == 2


@pytest.mark.parametrize("identifier", ["", "another", "this-one-and-more", "this"])
def test_only_the_very_cluster_id_will_do(nodes: Nodes, identifier: str) -> None:
    """Nor does an empty one equal an empty one."""
    nodes.tell("get infos.cluster.talos.dev", f"clusterId: {identifier}")
    run = nodes.run()
    assert run.code == 1
    said = f"cp_1: the machine at {CP_1} runs with another cluster.id; nothing was sent"
    assert said in run.output
    assert not nodes.sent()


def test_config_without_a_cluster_id_is_no_proof(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.CONFIG", "cluster:\n  token: t\nother:\n  id: this-one\n")
    nodes.tell("get infos.cluster.talos.dev", "clusterId:")
    assert "runs with another cluster.id; nothing was sent" in nodes.run().output
    assert not nodes.sent()


def test_machine_of_another_role_is_sent_nothing(nodes: Nodes) -> None:
    nodes.tell("get machinetype", "spec: worker", node=CP_2)
    run = nodes.run()
    assert f"cp_2: the machine at {CP_2} does not run as controlplane" in run.output
    assert not nodes.sent(CP_2)


def test_foreign_node_is_sent_nothing(nodes: Nodes) -> None:
    nodes.tell("get machinestatus", "! x509: certificate signed by unknown authority", node=CP_1)
    nodes.tell("get links", "! remote error: tls: certificate required", node=CP_1)
    run = nodes.run()
    assert run.code == 1
    assert (
        f"cp_1: the machine at {CP_1} belongs to another cluster; nothing was sent (x509: "
        "certificate signed by unknown authority)"
    ) in run.output
    assert not nodes.sent()


@pytest.mark.parametrize(
    "said",
    [
        "rpc error: code = Unavailable desc = remote error: tls: expired certificate",
        "x509: certificate has expired or is not yet valid: current time 2026-01-01",
    ],
)
def test_dead_talosconfig_is_told_from_another_cluster(nodes: Nodes, said: str) -> None:
    nodes.tell("get machinestatus", f"! {said}", node=CP_1)
    nodes.tell("get links", "! remote error: tls: certificate required", node=CP_1)
    run = nodes.run()
    assert run.code == 1
    assert (
        "cp_1: the talosconfig is too old, or a clock is wrong; run: snakemake validate --config "
        f"env=dev, then this again ({said})"
    ) in run.output
    assert not nodes.sent()


@pytest.mark.parametrize("endpoint", ["node-1.example.org:50001", "[fd00::1]:50001"])
def test_endpoint_may_be_a_name_with_a_port(nodes: Nodes, endpoint: str) -> None:
    nodes.project.node("dev", "control_planes", "cp_1", CP_1, f"NODE_ENDPOINT={endpoint}\n")
    shown = nodes.run("--dry-run").output
    assert f"talosctl apply-config -n {CP_1} -e {endpoint} --file " in shown
    assert f"-n {CP_1} -e {endpoint} bootstrap\n" in shown


WITHOUT_AN_ANSWER = {
    "get machinetype": "apply.sh: cp_1: no answer within 1 s (talosctl get)",
    "apply-config no-reboot": "apply.sh: cp_1: no answer within 1 s (talosctl apply-config)",
}


@pytest.mark.parametrize("call", WITHOUT_AN_ANSWER)
def test_call_without_an_answer_is_named(nodes: Nodes, call: str) -> None:
    nodes.tell(call, "hang", node=CP_1)
    run = nodes.run(CALL_TIMEOUT=1)
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
