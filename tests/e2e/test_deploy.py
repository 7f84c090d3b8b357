"""From encrypted secrets to a bootstrapped cluster, with the real talosctl and simulated nodes."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.project import REPOSITORY, Project, Run

UP = ("-j4", "--config", "env=lab")
NODES = ("cp_1", "cp_2", "cp_3", "worker_1", "worker_2")


def _log(lab: Project, method: str) -> list[str]:
    """The simulated nodes' log lines about a method."""
    return [line for line in lab.read(".simulator/lab/log").splitlines() if method in line]


def _members(lab: Project, address: str) -> set[str]:
    return _members_of(lab, "lab", address)


def _members_of(project: Project, env: str, address: str) -> set[str]:
    run = project.talosctl(env, address, "etcd", "members")
    assert run.code == 0, run.output
    return {row.split()[2] for row in run.output.splitlines()[1:]}


def test_up_twice(lab: Project, network: str) -> None:
    first = lab.ok(*UP)
    assert "lab: 3 control planes and 2 workers: 5 applied; bootstrapped" in first.output
    assert "simulated" in first.output
    assert _members(lab, f"{network}.13") == {"cp-1", "cp-2", "cp-3"}
    for name in ("talosconfig", "kubeconfig"):
        assert (lab.root / f"rendered_configs/lab/{name}").stat().st_mode & 0o777 == 0o600
    assert f"server: https://{network}.11:6443" in lab.read("rendered_configs/lab/kubeconfig")
    assert "nodes:" not in lab.read("rendered_configs/lab/talosconfig")
    marker = json.loads(lab.read("rendered_configs/lab/state/controlplane-cp_1.applied"))
    assert marker["mode"] == "maintenance"
    assert marker["address"] == f"{network}.11"
    assert len(_log(lab, "Bootstrap")) == 1

    second = lab.ok(*UP)
    assert second.jobs == set()
    assert "Nothing to be done" in second.output


def test_lost_markers_change_nothing_on_the_nodes(running: Project) -> None:
    lab = running
    applied = len(_log(lab, "ApplyConfiguration"))
    for marker in (lab.root / "rendered_configs/lab/state").glob("*"):
        if marker.suffix == ".applied" or marker.name == "bootstrapped":
            marker.unlink()
    run = lab.ok(*UP)
    assert run.output.count("unchanged: the node already runs this config") == len(NODES)
    assert "etcd already runs on cp_1, cp_2, cp_3" in run.output
    assert len(_log(lab, "ApplyConfiguration")) == applied
    assert len(_log(lab, "Bootstrap")) == 1


def test_changed_patch_reaches_one_running_node(running: Project, network: str) -> None:
    lab = running
    lab.patch("lab", "workers", "worker_2", "machine:\n  sysctls:\n    vm.swappiness: '7'\n")
    run = lab.ok(*UP)
    assert run.jobs == {
        "lint_environment:lab",
        *(f"{step}:lab/worker_2" for step in ("render_config", "validate_config", "apply_worker")),
    }
    config = lab.talosctl("lab", f"{network}.22", "get", "machineconfig", "-o", "yaml").output
    assert "vm.swappiness" in config
    marker = json.loads(lab.read("rendered_configs/lab/state/worker-worker_2.applied"))
    assert marker["mode"] == "auto"
    other = lab.talosctl("lab", f"{network}.21", "get", "machineconfig", "-o", "yaml").output
    assert "vm.swappiness" not in other


_SYSCTL = "machine:\n  sysctls:\n    vm.max_map_count: '262145'\n"


@pytest.mark.parametrize("before", ["", "the nodes were off", "the talosconfig is lost", "strict"])
def test_what_was_only_validated_reaches_all_nodes_in_one_run(lab: Project, before: str) -> None:
    """Also where something runs first that workers, or all nodes, only wait for."""
    strict = ["strict=true"] if before == "strict" else []
    lab.ok(*UP, *strict)
    lab.write("patches/common.yaml", _SYSCTL)
    lab.ok("validate", *UP, *strict)
    if before == "the nodes were off":
        lab.ok("simulator_stop", *UP)
    elif before == "the talosconfig is lost":
        lab.remove("rendered_configs/lab/talosconfig")
    elif before == "strict":
        lab.remove("rendered_configs/lab/state/linted")
    run = lab.ok(*UP, *strict)
    applied = {job for job in run.jobs if job.startswith("apply_")} - {"apply_script:lab"}
    roles = {"cp": "controlplane", "worker": "worker"}
    assert applied == {f"apply_{roles[node.partition('_')[0]]}:lab/{node}" for node in NODES}
    assert lab.ok(*UP, *strict).jobs == set()


def test_only_the_changed_of_what_was_validated_is_applied(running: Project) -> None:
    lab = running
    lab.patch("lab", "control_planes", "cp_2", _SYSCTL)
    lab.patch("lab", "workers", "worker_2", _SYSCTL)
    lab.ok("validate", *UP)
    run = lab.ok(*UP)
    assert run.jobs == {"apply_controlplane:lab/cp_2", "apply_worker:lab/worker_2"}
    assert lab.ok(*UP).jobs == set()


def test_bootstrap_alone_does_all_that_it_rests_on(lab: Project, network: str) -> None:
    """What is only validated is no reason for Snakemake to look at it, behind a job that runs."""
    lab.ok("validate", *UP)
    lab.node("lab", "control_planes", "cp_4", f"{network}.14")
    run = lab.ok("bootstrap", *UP)
    assert {f"apply_controlplane:lab/cp_{n}" for n in (1, 2, 3, 4)} < run.jobs
    assert _members(lab, f"{network}.11") == {"cp-1", "cp-2", "cp-3", "cp-4"}
    run = lab.ok("rendered_configs/lab/state/worker-worker_1.applied", *UP)
    assert "apply_worker:lab/worker_1" in run.jobs


def test_kubeconfig_follows_the_endpoint(running: Project, network: str) -> None:
    lab = running
    facts = lab.read("patches/envs/lab/cluster.env")
    [before] = re.findall(r"CLUSTER_ENDPOINT=(\S+)", facts)
    endpoint = f"https://{network}.12:6443"
    assert before != endpoint
    lab.write("patches/envs/lab/cluster.env", facts.replace(before, endpoint))
    lab.ok(*UP)
    assert f"server: {endpoint}" in lab.read("rendered_configs/lab/kubeconfig")
    assert len(_log(lab, "Bootstrap")) == 1
    assert lab.ok(*UP).jobs == set()


def test_added_control_plane_joins(running: Project, network: str) -> None:
    lab = running
    lab.node("lab", "control_planes", "cp_4", f"{network}.14")
    run = lab.ok(*UP)
    assert "apply_controlplane:lab/cp_4" in run.jobs
    assert not {f"apply_controlplane:lab/cp_{number}" for number in (1, 2, 3)} & run.jobs
    assert _members(lab, f"{network}.11") == {"cp-1", "cp-2", "cp-3", "cp-4"}
    assert lab.ok(*UP).jobs == set()


def test_nodes_started_afresh_are_brought_up_again(running: Project, network: str) -> None:
    """The simulated nodes lost everything: what a node says wins over any marker."""
    lab = running
    lab.ok("simulator_stop", "--config", "env=lab")
    for path in (lab.root / ".simulator/lab").glob("127.*"):
        lab.remove(str(path.relative_to(lab.root)))
    lab.ok(*UP)
    lab.ok("refresh", "--config", "env=lab")
    lab.ok(*UP)
    assert _members(lab, f"{network}.12") == {"cp-1", "cp-2", "cp-3"}


def test_refresh_drops_markers_that_no_longer_hold(running: Project, network: str) -> None:
    lab = running
    reset = lab.talosctl("lab", f"{network}.22", "reset", "--graceful=false", "--reboot")
    assert reset.code == 0, reset.output
    run = lab.ok("refresh", "--config", "env=lab")
    assert "lab/worker_2: what answers is maintenance" in run.output
    assert not (lab.root / "rendered_configs/lab/state/worker-worker_2.applied").exists()
    assert (lab.root / "rendered_configs/lab/state/worker-worker_1.applied").exists()
    assert (lab.root / "rendered_configs/lab/state/bootstrapped").exists()
    assert lab.ok(*UP).jobs == {"apply_worker:lab/worker_2"}


def test_refresh_keeps_markers_of_nodes_that_do_not_answer(running: Project) -> None:
    lab = running
    lab.ok("simulator_stop", "--config", "env=lab")
    run = lab.ok("refresh", "--config", "env=lab")
    assert run.output.count("marker kept") == len(NODES)
    assert len(list((lab.root / "rendered_configs/lab/state").glob("*.applied"))) == len(NODES)


def test_node_table_shows_what_answers(running: Project, network: str) -> None:
    lab = running
    run = lab.ok("nodes", "--quiet", "all", "--config", "env=lab")
    rows = {row.split()[0]: row.split() for row in run.output.splitlines() if network in row}
    assert rows["cp_1"] == [
        "cp_1",
        "controlplane",
        f"{network}.11",
        "52:54:00:00:00:11",
        "-",  # no virtual machine
        "applied",
        "v1.13.0",
        "running",
    ]


def _apply_sh(lab: Project, *arguments: str) -> Run:
    return lab.run("bash", lab.root / "rendered_configs/lab/apply.sh", *arguments)


def test_apply_sh_alone_brings_up_fresh_nodes(lab: Project, network: str) -> None:
    lab.ok("validate", *UP)
    lab.ok("-j4", ".simulator/lab/ready", "--config", "env=lab")
    shown = _apply_sh(lab, "--dry-run")
    assert shown.code == 0, shown.output
    assert shown.output.count("talosctl apply-config --insecure") == len(NODES)
    assert not _log(lab, "ApplyConfiguration")

    printed = _apply_sh(lab)
    assert printed.code == 0, printed.output
    assert f"-n {network}.11 -e {network}.11 bootstrap" in printed.output
    assert not _log(lab, "Bootstrap")

    run = _apply_sh(lab, "--bootstrap")
    assert run.code == 0, run.output
    assert _members(lab, f"{network}.12") == {"cp-1", "cp-2", "cp-3"}
    assert (lab.root / "rendered_configs/lab/kubeconfig").stat().st_mode & 0o777 == 0o600

    again = _apply_sh(lab, "--bootstrap")
    assert again.code == 0, again.output
    assert "not bootstrapped again" in again.output
    assert len(_log(lab, "Bootstrap")) == 1

    # The workflow asks the nodes again, and agrees with what the script did.
    run = lab.ok(*UP)
    assert run.output.count("unchanged: the node already runs this config") == len(NODES)


def test_what_apply_sh_sent_is_not_taken_for_what_the_workflow_applied(running: Project) -> None:
    """Git goes back to what was applied before: by contents, Snakemake would see no change."""
    lab = running
    lab.patch("lab", "workers", "worker_1", _SYSCTL)
    lab.ok("validate", *UP)
    assert _apply_sh(lab).code == 0
    lab.remove("patches/envs/lab/workers/worker_1/node.yaml")
    run = lab.ok(*UP)
    assert "apply_worker:lab/worker_1" in run.jobs
    shown = lab.ok("diff", *UP).output
    assert "worker_1: runs what" in shown or "no difference" in shown, shown


def test_apply_sh_refuses_what_was_not_validated(lab: Project) -> None:
    lab.ok("validate", *UP)
    lab.ok("-j4", ".simulator/lab/ready", "--config", "env=lab")
    config = lab.root / "rendered_configs/lab/controlplane-cp_1.yaml"
    config.write_text(config.read_text() + "# edited\n")
    run = _apply_sh(lab)
    assert run.code == 1
    assert "did not pass 'talosctl validate'" in run.output
    assert not _log(lab, "ApplyConfiguration")


def test_edited_config_is_not_applied(lab: Project, network: str) -> None:
    lab.ok("validate", *UP)
    config = lab.root / "rendered_configs/lab/controlplane-cp_1.yaml"
    before = config.stat()
    config.write_bytes(config.read_bytes() + b"# edited\n")
    # Back-dated, so that Snakemake does not see the change; the digest does.
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    error = lab.fails(*UP)
    assert "is not the config that passed 'talosctl validate'" in error
    assert f"{network}.11" not in " ".join(_log(lab, "ApplyConfiguration"))


def test_machine_with_another_mac_is_refused(metal: Project, network: str) -> None:
    metal.node("metal", "control_planes", "cp_1", f"{network}.11", "NODE_MAC=52:54:00:00:00:99\n")
    error = metal.fails("apply", "--config", "env=metal")
    assert "NODE_MAC is 52:54:00:00:00:99, the machine has 52:54:00:00:00:11" in error
    assert "nothing was sent" in error
    script = metal.run("bash", "rendered_configs/metal/apply.sh")
    assert script.code == 1
    assert "does not have NODE_MAC 52:54:00:00:00:99" in script.output
    assert "ApplyConfiguration" not in metal.read("fleet/log")


def test_node_answers_elsewhere_in_maintenance_mode(metal: Project, network: str) -> None:
    """DHCP gives another address before the config is applied; nobody answers at the final one."""
    metal.node("metal", "control_planes", "cp_1", f"{network}.99")
    facts = f"NODE_MAINTENANCE_IP={network}.11\n"
    metal.node("metal", "control_planes", "cp_1", f"{network}.99", facts)
    metal.environment("metal", "NODE_TIMEOUT=3\n")
    error = metal.fails("apply", "--config", "env=metal")
    # Simulated nodes keep their address, so the wait for the final one times out; it was sent.
    assert f"the secure API at {network}.99" in error
    assert "ApplyConfiguration" in metal.read("fleet/log")


def test_wrong_fingerprint_is_refused(metal: Project, network: str) -> None:
    facts = "NODE_CERT_FINGERPRINT=" + "AA" * 32 + "\n"
    metal.node("metal", "control_planes", "cp_1", f"{network}.11", facts)
    error = metal.fails("apply", "--config", "env=metal")
    assert "NODE_CERT_FINGERPRINT" in error
    assert "ApplyConfiguration" not in metal.read("fleet/log")


def test_right_fingerprint_is_accepted(metal: Project, network: str) -> None:
    fingerprint = metal.read(f"fleet/{network}.11/maintenance-fingerprint").strip()
    facts = f"NODE_CERT_FINGERPRINT={fingerprint}\n"
    metal.node("metal", "control_planes", "cp_1", f"{network}.11", facts)
    metal.ok("up", "--config", "env=metal")
    assert _members_of(metal, "metal", f"{network}.11") == {"cp-1"}


def test_unreachable_node_is_named_with_the_time(metal: Project, network: str) -> None:
    metal.environment("metal", "NODE_TIMEOUT=2\n")
    metal.node("metal", "control_planes", "cp_1", f"{network}.98")
    error = metal.fails("apply", "--config", "env=metal")
    assert f"metal/cp_1: timed out after 2 s waiting for the Talos API at {network}.98" in error
    assert "connection refused" in error
    assert "NODE_TIMEOUT" in error


def test_foreign_cluster_is_refused(running: Project, network: str) -> None:
    lab = running
    for path in ("secrets", "rendered_configs"):
        lab.remove(path)
    error = lab.fails("apply", *UP)
    assert "belongs to another cluster" in error
    assert "nothing was sent" in error
    script = _apply_sh(lab)
    assert script.code == 1
    assert "belongs to another cluster" in script.output


def test_role_of_a_running_node_is_not_changed(running: Project, network: str) -> None:
    lab = running
    lab.remove("patches/envs/lab/workers/worker_2")
    lab.node("lab", "control_planes", "cp_4", f"{network}.22")
    error = lab.fails(*UP)
    assert "another machine.type: it has worker, the config says controlplane" in error


def test_changed_inline_manifests_of_a_running_cluster(lab: Project, network: str) -> None:
    facts = lab.read("patches/envs/lab/cluster.env").replace("CNI_INSTALL=none", "CNI_INSTALL=job")
    lab.write("patches/envs/lab/cluster.env", facts + "CILIUM_VERSION=1.20.2\n")
    values = "patches/cilium/values.yaml"
    lab.write(values, (REPOSITORY / values).read_text())
    assert "upgrade-k8s" not in lab.ok(*UP).output
    lab.write("patches/envs/lab/cilium.yaml", "debug: {enabled: true}\n")
    shown = lab.ok(*UP).output
    assert shown.count("lab: inline manifests changed: cilium. Talos creates objects that are") == 1
    assert f"-n {network}.11 -e {network}.11 upgrade-k8s --to 1.36.0" in shown
    lab.patch("lab", "control_planes", "cp_1", "machine: {sysctls: {a: b}}\n")
    assert "upgrade-k8s" not in lab.ok(*UP).output
