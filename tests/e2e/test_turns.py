"""One control plane at a time, for every process: another checkout, and an executor's jobs."""

from __future__ import annotations

import re
import shutil

from tests.e2e.test_rolling import _boots, _fault, _one_by_one
from tests.project import Project
from tests.workflow.test_executors import _options, _submitted, _with_a_cluster

UP = ("-j8", "--config", "env=lab")
_CONTROL_PLANES = "patches/envs/lab/control_planes/common.yaml"
_NEEDS_REBOOT = "machine:\n  env:\n    A_NAME: {}\n"


def _without_markers(lab: Project) -> None:
    for name in ("bootstrapped", *(f"controlplane-cp_{n}.applied" for n in (1, 2, 3))):
        lab.remove(f"rendered_configs/lab/state/{name}")


def _other_checkout(lab: Project) -> Project:
    """The same project somewhere else, with nothing made yet, and the same nodes."""
    made = shutil.ignore_patterns("rendered_configs", ".simulator", ".snakemake", "logs")
    other = lab.root.parent / "other"
    shutil.copytree(lab.root, other, ignore=made)
    (other / ".simulator").symlink_to(lab.root / ".simulator")
    return Project(other, lab.env)


def test_two_checkouts_take_turns(lab: Project) -> None:
    lab.remove("patches/envs/lab/workers")
    lab.ok(*UP)
    other = _other_checkout(lab)
    before = len(_boots(lab))
    for project, value in ((lab, "one"), (other, "two")):
        project.write(_CONTROL_PLANES, _NEEDS_REBOOT.format(value))
    runs = [project.start(*UP) for project in (lab, other)]
    shown = [run.communicate(timeout=240)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(shown)
    rolled = _boots(lab)[before:]
    # The one may find a node as it is to be only if the other had it first: three reboots or more.
    assert len(rolled) >= 6
    assert _one_by_one(rolled)
    assert re.search(
        r"lab/cp_\d: waiting for its turn to change control planes of talos-test \(\d+ s\): "
        r"\S+/locks/talos-test-[0-9a-f]{12}\.lock is held by process \d+ on \S+, for lab/cp_\d",
        "\n".join(shown),
    )


def test_jobs_of_an_executor_take_turns_and_stop_after_a_failure(
    lab: Project, network: str
) -> None:
    """On a cluster whose markers were lost: nothing but the nodes tell that it runs."""
    cluster = _with_a_cluster(lab)
    cluster.remove("patches/envs/lab/workers")
    cluster.ok(*UP)
    before = len(_boots(cluster))
    options = [option if option != "2" else "3" for option in _options(cluster)]

    _without_markers(cluster)
    cluster.write(_CONTROL_PLANES, _NEEDS_REBOOT.format("one"))
    cluster.ok("up", *options, "--config", "env=lab", timeout=400)
    assert "apply_controlplane" in _submitted(cluster)
    rolled = _boots(cluster)[before:]
    assert len(rolled) == 6
    assert _one_by_one(rolled)

    # cp_3 is dead, so that the first one that comes to its turn fails: no other may follow.
    facts = cluster.read("patches/envs/lab/cluster.env").replace(
        "ETCD_TIMEOUT=30", "ETCD_TIMEOUT=2"
    )
    cluster.write(
        "patches/envs/lab/cluster.env", facts.replace("NODE_TIMEOUT=30", "NODE_TIMEOUT=2")
    )
    cluster.write(_CONTROL_PLANES, _NEEDS_REBOOT.format("two"))
    _fault(cluster, f'{{"{network}.13": [{{"fault": "refuse"}}]}}')
    _without_markers(cluster)
    run = cluster.run(*cluster.command("apply", "-k", *options, "--config", "env=lab"), timeout=400)
    assert run.code != 0
    said = [cluster.read(f"logs/lab/controlplane-cp_{n}.apply.log") for n in (1, 2, 3)]
    stopped = [text for text in said if "not changed, because the roll-out stopped at" in text]
    assert len(stopped) >= 1, said
    assert len(_boots(cluster)) == before + 6
    assert "Traceback" not in run.output
