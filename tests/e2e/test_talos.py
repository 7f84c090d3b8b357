"""The Talos that nodes run, and the one in Git: told, never taken for the same."""

from __future__ import annotations

import json
import re
import shlex

from tests.project import BIN, Project

UP = ("up", "-q", "all", "-j4", "--config", "env=lab")
DIFF = ("diff", "-q", "all", "--config", "env=lab")
NODES = ("nodes", "-q", "all", "--config", "env=lab")
ONE = "0f" * 32
FACTORY = "factory.talos.dev/metal-installer"
_DIFFERS = "Talos v1.13.0, Git says v1.13.6"


def _raise_version(lab: Project) -> None:
    facts = lab.read("patches/envs/lab/cluster.env")
    lab.write("patches/envs/lab/cluster.env", facts.replace("N=v1.13.0", "N=v1.13.6"))


def _commands(shown: str) -> list[list[str]]:
    return [shlex.split(found) for found in re.findall(r"talosctl upgrade .*", shown)]


def test_a_raised_version_is_told_until_the_nodes_are_upgraded(lab: Project) -> None:
    run = lab.ok(*UP)
    assert "Git says" not in run.output
    run = lab.ok(*NODES)
    assert len(re.findall(r" v1\.13\.0 +running$", run.output, re.MULTILINE)) == 5

    _raise_version(lab)
    # Before anything is rendered, too.
    run = lab.ok(*NODES)
    assert run.output.count("v1.13.0 (Git: v1.13.6)  running") == 5
    assert len(_commands(run.output)) == 5

    run = lab.ok(*UP)
    assert f"5 applied; bootstrapped; 5 run {_DIFFERS}\n" in run.output
    commands = _commands(run.output)
    assert len(commands) == 5
    run = lab.snakemake(*DIFF)
    assert run.code == 2, run.output
    assert run.output.count(f": runs the config in Git, but {_DIFFERS}\n") == 5
    assert _commands(run.output) == commands
    assert "lab: 5 of 5 nodes differ from Git" in run.output
    against = lab.ok(*DIFF, "against=applied")
    assert "Git says" not in against.output

    # The command that was shown does it.
    done = lab.run(BIN / commands[0][0], *commands[0][1:])
    assert done.code == 0, done.output
    run = lab.snakemake(*DIFF)
    assert "lab/cp_1: runs what is in Git\n" in run.output
    assert "lab: 4 of 5 nodes differ from Git" in run.output
    # The next run asks again those that did not run what Git says, and notes what they said.
    lab.patch("lab", "workers", "worker_1", "machine:\n  nodeLabels:\n    a: b\n")
    run = lab.ok(*UP)
    assert f"; 4 run {_DIFFERS}\n" in run.output
    kept = json.loads(lab.read("rendered_configs/lab/state/controlplane-cp_1.talos"))
    assert kept["version"] == "v1.13.6"


def test_the_report_claims_no_talos_that_it_did_not_ask_for(running: Project) -> None:
    lab = running
    _raise_version(lab)
    lab.ok("report", "-q", "all", "-j4", "--config", "env=lab")
    page = lab.read("rendered_configs/lab/report.html")
    assert "v1.13.6 in Git" in page
    assert "the nodes were not asked which they run" in page
    lab.ok("report", "-q", "all", "-j4", "--config", "env=lab", "live=true")
    page = lab.read("rendered_configs/lab/report.html")
    assert "of the nodes 5 run v1.13.0</dd>" in page
    assert "5 applied, differs from Git" in page
    assert page.count("talosctl upgrade --image ghcr.io/siderolabs/installer:v1.13.6") == 5


def test_a_schematic_is_told_of_and_wins_where_a_patch_sets_the_image(lab: Project) -> None:
    lab.patch(
        "lab",
        "workers",
        "worker_1",
        f"machine:\n  install:\n    image: {FACTORY}/{ONE}:${{TALOS_VERSION}}\n",
    )
    lab.ok(*UP)
    run = lab.ok(*NODES)
    assert "v1.13.0, schematic 0f0f0f0f0f0f…  running" in run.output
    lab.ok(*DIFF)
    lab.patch("lab", "workers", "worker_1", "machine:\n  install:\n    disk: /dev/vda\n")
    run = lab.snakemake(*DIFF)
    assert run.code == 2, run.output
    assert "; runs schematic 0f0f0f0f0f0f…, Git says no extensions\n" in run.output
    assert f"TALOS_SCHEMATIC_ID={ONE}" in run.output


def test_a_schematic_of_a_role_is_due_on_its_nodes_alone(running: Project) -> None:
    lab = running
    lab.write("patches/envs/lab/workers/common.env", f"TALOS_SCHEMATIC_ID={ONE}\n")
    image = f"{FACTORY}/{ONE}:v1.13.0"
    shown = lab.ok(*NODES).output
    due = r"worker_\d .* v1\.13\.0, no extensions \(Git: schematic 0f0f0f0f0f0f…\) +running"
    assert len(re.findall(due, shown)) == 2
    assert shown.count("(Git: ") == 2
    commands = _commands(shown)
    assert [command[3] for command in commands] == [image] * 2
    run = lab.ok(*UP)
    assert "; 2 run no extensions, Git says schematic 0f0f0f0f0f0f…\n" in run.output
    for command in commands:
        assert lab.run(BIN / command[0], *command[1:]).code == 0
    assert "lab: 0 of 5 nodes differ from Git" in lab.ok(*DIFF).output


def test_a_node_that_is_off_is_not_asked_which_it_runs(running: Project, network: str) -> None:
    lab = running
    _raise_version(lab)
    faults = {f"{network}.21": [{"fault": "refuse"}]}
    lab.write(".simulator/lab/faults.tmp", json.dumps(faults)).rename(
        lab.root / ".simulator/lab/faults.json"
    )
    run = lab.ok(*NODES)
    assert re.search(r"worker_1 .* applied +- +unreachable", run.output)
    assert run.output.count("(Git: v1.13.6)") == 4
    run = lab.snakemake(*DIFF)
    assert run.code == 1, run.output
    assert "lab/worker_1: does not answer, so nobody can say what it runs" in run.output
    assert "Traceback" not in run.output


def test_what_is_read_at_an_install_only_is_told(running: Project) -> None:
    lab = running
    patch = "machine:\n  install:\n    extraKernelArgs: [quiet]\n    grubUseUKICmdline: false\n"
    lab.patch("lab", "workers", "worker_1", patch)
    names = "machine.install.extraKernelArgs, machine.install.grubUseUKICmdline"
    run = lab.snakemake(*DIFF)
    assert run.code == 2, run.output
    assert f"; {names} changes no running node\n" in run.output
    run = lab.ok("up", "-j4", "--config", "env=lab")
    assert f"lab/worker_1: {names}: Talos reads this when it writes itself" in run.output
