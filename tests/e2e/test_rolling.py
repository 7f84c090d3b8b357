"""How many nodes are worked on at a time."""

from __future__ import annotations

import re

from tests.project import Project, Run

UP = ("-j8", "--config", "env=lab")
_SYSCTL = "machine:\n  sysctls:\n    vm.swappiness: '7'\n"


def _most_at_once(run: Run, rule: str) -> int:
    """The most jobs of a rule that ran at the same time, by the order of Snakemake's messages."""
    running = most = 0
    for line in run.output.splitlines():
        if re.fullmatch(rf"(local)?rule {rule}:", line):
            running += 1
            most = max(most, running)
        elif line.endswith(f"(Rule: {rule})"):
            running -= 1
    assert running == 0
    return most


def test_control_planes_one_by_one_once_bootstrapped(lab: Project) -> None:
    first = lab.ok(*UP)
    assert _most_at_once(first, "apply_controlplane") == 3
    lab.write("patches/envs/lab/control_planes/common.yaml", _SYSCTL)
    second = lab.ok(*UP)
    assert len([job for job in second.jobs if job.startswith("apply_controlplane")]) == 3
    assert _most_at_once(second, "apply_controlplane") == 1


def test_workers_by_the_configured_limit(running: Project) -> None:
    lab = running
    lab.write("patches/envs/lab/workers/common.yaml", _SYSCTL)
    run = lab.ok(*UP, "workers_at_once=1")
    assert len([job for job in run.jobs if job.startswith("apply_worker")]) == 2
    assert _most_at_once(run, "apply_worker") == 1
    lab.write("patches/envs/lab/workers/common.yaml", _SYSCTL.replace("'7'", "'6'"))
    # The command line's word counts, too.
    run = lab.ok("--resources", "worker=1", *UP)
    assert len([job for job in run.jobs if job.startswith("apply_worker")]) == 2
    assert _most_at_once(run, "apply_worker") == 1
    lab.write("patches/envs/lab/workers/common.yaml", _SYSCTL.replace("'7'", "'8'"))
    assert _most_at_once(lab.ok(*UP), "apply_worker") == 2


def test_one_job_at_a_time_still_bootstraps(lab: Project, network: str) -> None:
    """Bootstrap goes before the workers, which may need it to have their certificates."""
    run = lab.ok("-j1", "--config", "env=lab")
    order = re.findall(r"^(?:local)?rule (\w+):", run.output, re.MULTILINE)
    assert order.index("bootstrap_cluster") < order.index("apply_worker")


_NEEDS_REBOOT = "machine:\n  env:\n    A_NAME: {}\n"
_SCRIPT = "rendered_configs/lab/apply.sh"
_CONTROL_PLANES = "patches/envs/lab/control_planes/common.yaml"


def _boots(lab: Project) -> list[tuple[str, str]]:
    """The last number of each control plane's address with ``down`` and ``secure``, in order."""
    log = lab.read(".simulator/lab/log")
    return re.findall(r"\.(1\d) (?:goes|is) (down|secure) \(simulated\)", log)


def _one_by_one(boots: list[tuple[str, str]]) -> bool:
    """Whether each that went down was back before the next one went."""
    pairs = list(zip(boots[::2], boots[1::2], strict=True))
    return all(
        (down[1], back[1]) == ("down", "secure") and down[0] == back[0] for down, back in pairs
    )


def _fault(lab: Project, text: str) -> None:
    temporary = lab.write(".simulator/lab/faults.tmp", text)
    temporary.rename(lab.root / ".simulator/lab/faults.json")


def test_who_left_etcd_joins_before_another_reboots(running: Project, network: str) -> None:
    lab = running
    lab.ok("reset", "--config", "env=lab", "node=cp_3", "confirm=cp_3")
    lab.write(_CONTROL_PLANES, _NEEDS_REBOOT.format("one"))
    before = len(_boots(lab))
    lab.ok(*UP)
    rolled = _boots(lab)[before:]
    assert next(node for node, state in rolled if state == "secure") == "13"
    assert len({node for node, _ in rolled}) == 3
    members = lab.talosctl("lab", f"{network}.11", "etcd", "members").output
    assert len(members.splitlines()) == 4


def test_reboots_wait_for_etcd(lab: Project, network: str) -> None:
    facts = lab.read("patches/envs/lab/cluster.env").replace("ETCD_TIMEOUT=30", "ETCD_TIMEOUT=2")
    lab.ok(*UP)
    before = len(_boots(lab))

    # A member that does not answer: nothing is rebooted, and the roll-out ends there.
    lab.write("patches/envs/lab/cluster.env", facts)
    lab.write(_CONTROL_PLANES, _NEEDS_REBOOT.format("one"))
    lab.remove("patches/envs/lab/workers")
    _fault(lab, f'{{"{network}.13": [{{"fault": "refuse"}}]}}')
    markers = [f"rendered_configs/lab/state/controlplane-cp_{n}.applied" for n in (1, 2)]
    shown = lab.snakemake("-k", "rendered_configs/lab/apply.sh", *markers, *UP)
    assert shown.code != 0
    assert (
        "timed out after 2 s waiting for all other etcd members to be healthy; last: cp-3: "
        f"{network}.13:50000: connection refused"
    ) in shown.output
    assert "Nothing was sent to it: a reboot now could cost etcd its quorum" in shown.output
    assert re.search(r"cp_\d: not changed, because the roll-out stopped at cp_\d", shown.output)
    assert "do not have their new config yet: cp_1, cp_2, cp_3." in shown.output
    assert len(_boots(lab)) == before

    # It is back, and another one takes its time: the same command finishes.
    _fault(lab, f'{{"{network}.12": [{{"fault": "slow-reboot", "seconds": 3, "times": 1}}]}}')
    lab.write("patches/envs/lab/cluster.env", facts.replace("ETCD_TIMEOUT=2", "ETCD_TIMEOUT=30"))
    run = lab.ok(*UP)
    assert len(run.jobs & {f"apply_controlplane:lab/cp_{n}" for n in (1, 2, 3)}) == 3
    rolled = _boots(lab)[before:]
    assert len(rolled) == 6
    assert _one_by_one(rolled)

    # Without Snakemake nothing is rebooted; which ones need it is said, and what to run is right.
    lab.write(_CONTROL_PLANES, _NEEDS_REBOOT.format("two"))
    lab.ok("validate", *UP)
    script = lab.run("bash", _SCRIPT)
    assert script.code == 1, script.output
    assert "need a reboot to take their new config: cp_1 cp_2 cp_3\n" in script.output
    assert "'snakemake up --config env=lab' does it, one at a time" in script.output
    # No difference of configs, which holds all secrets.
    assert "immediate mode" not in script.output
    assert "A_NAME" not in run.output + script.output
    assert len(_boots(lab)) == before + 6
    lab.ok("up", "--config", "env=lab")
    rolled = _boots(lab)[before + 6 :]
    assert len(rolled) == 6
    assert _one_by_one(rolled)


def test_modes(metal: Project, network: str) -> None:
    go = ("up", "-j4", "--config", "env=metal")
    metal.ok(*go)
    metal.patch("metal", "control_planes", "cp_1", _NEEDS_REBOOT.format("one"))
    metal.environment("metal", "APPLY_MODE=no-reboot\n")
    error = metal.fails(*go)
    assert (
        "the new config needs a reboot, and APPLY_MODE is no-reboot; nothing was changed" in error
    )
    assert "to auto (it reboots now" in error
    script = metal.run("bash", "rendered_configs/metal/apply.sh")
    assert script.code == 1
    assert "its new config needs a reboot; nothing was changed" in script.output

    metal.environment("metal", "APPLY_MODE=staged\n")
    assert (
        "it runs as before until you reboot it: snakemake reboot --config" in metal.ok(*go).output
    )
    running = metal.talosctl(
        "metal", f"{network}.11", "get", "machineconfig", "v1alpha1", "-o", "yaml"
    )
    assert "A_NAME" not in running.output
    assert metal.ok(*go).jobs == set()
    metal.environment("metal", "APPLY_MODE=reboot\n")
    (metal.root / "rendered_configs/metal/state/controlplane-cp_1.applied").unlink()
    metal.ok(*go)
    running = metal.talosctl(
        "metal", f"{network}.11", "get", "machineconfig", "v1alpha1", "-o", "yaml"
    )
    assert "A_NAME" in running.output


def test_one_by_one_also_without_the_marker(running: Project, network: str) -> None:
    """As in a new checkout: that the cluster is bootstrapped, its nodes say."""
    lab = running
    lab.write(_CONTROL_PLANES, _SYSCTL)
    for path in (lab.root / "rendered_configs/lab/state").glob("*"):
        if path.name == "bootstrapped" or path.suffix == ".applied":
            path.unlink()
    reject = '[{"fault": "reject", "method": "ApplyConfiguration"}]'
    nodes = ", ".join(f'"{network}.1{number}": {reject}' for number in (1, 2, 3))
    _fault(lab, f"{{{nodes}}}")
    shown = lab.snakemake("-k", *UP)
    assert shown.code != 0
    assert len(re.findall(r"cp_\d: not changed, because the roll-out stopped", shown.output)) == 2
    _fault(lab, "{}")
    assert "lab: etcd already runs on" in lab.ok(*UP).output
