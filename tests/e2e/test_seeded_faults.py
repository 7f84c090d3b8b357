"""Faults at random: a run ends up bootstrapped or stops with a clear error; then it finishes.

94 of 100 seeds run the deploy steps (talosmake.rollout) as the DAG orders them, in processes of
their own, because starting Snakemake 200 times would take most of the time and meet no other fault.
The other 6 are whole runs of Snakemake. Everything else is the same: the real talosctl, a simulated
cluster of two control planes and a worker each, and a seed that says which node does what wrong.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from talosmake.base.errors import TalosmakeError
from talosmake.inventory import environments
from talosmake.rollout import apply, bootstrap
from tests.project import BIN, CLUSTER_ENV, Project

UP = ("-j4", "--config", "env=lab")
_SEEDS = 100
_FEWER = 16
_WHOLE_RUNS = 6
_CALL, _NODE, _ETCD, _RETRIES = 2, 5, 5, 2
# The most one step can take: each try a wait for the node and some calls, then a wait for what came
# of it. Two steps come one after the other, and a busy machine is slower.
_LIMIT = 2 * ((_RETRIES + 1) * (_NODE + 4 * _CALL) + _NODE + _ETCD) + 30
_SIMULATED = f"{CLUSTER_ENV}SIMULATED=true\nGOAL=bootstrapped\n"
# Short, for what faults keep back; then long enough for any machine.
_SHORT = (
    f"NODE_TIMEOUT={_NODE}\nETCD_TIMEOUT={_ETCD}\nCALL_TIMEOUT={_CALL}\nAPPLY_RETRIES={_RETRIES}\n"
)
_LONG = "NODE_TIMEOUT=60\nETCD_TIMEOUT=60\nCALL_TIMEOUT=20\n"
_CLUSTER = "patches/envs/lab/cluster.env"
_NODES = {"control_planes/cp_1": 11, "control_planes/cp_2": 12, "workers/worker_1": 21}
_METHODS = ("ApplyConfiguration", "Bootstrap", "EtcdMemberList", "Kubeconfig", "ServiceList", "Get")


def _faults(seed: int, network: str) -> dict[str, list[dict[str, object]]]:
    """Which simulated node does what wrong; at least one does."""
    chance = random.Random(seed)  # noqa: S311 - which fault, no cryptography
    found: dict[str, list[dict[str, object]]] = {}
    for _ in range(chance.randint(1, 4)):
        kind = chance.choice(("refuse", "hang", "drop", "drop", "reject", "slow-reboot"))
        fault: dict[str, object] = {"fault": kind}
        # Most pass, some stay.
        if chance.random() < 0.75:
            fault["times"] = chance.randint(1, 3)
        if kind in ("hang", "drop", "reject") and chance.random() < 0.8:
            fault["method"] = chance.choice(_METHODS)
        if kind == "drop":
            fault["when"] = chance.choice(("before", "after"))
        if kind == "slow-reboot":
            fault["seconds"] = chance.choice((1, 3, 30))
        if kind == "hang" and chance.random() < 0.5:
            fault["seconds"] = 1
        address = f"{network}.{chance.choice(list(_NODES.values()))}"
        found.setdefault(address, []).append(fault)
    return found


@dataclass(frozen=True)
class Outcome:
    """How the deploy steps ended.

    :ivar unclear: an error that is not for a person, or a step that took too long.
    """

    bootstrapped: bool
    error: str = ""
    unclear: str = ""


def _deploy() -> Outcome:
    """All that touches nodes, in the order of rules/deploy.smk, in the working directory."""
    environment = environments.load("lab")
    begun = time.monotonic()
    try:
        with ThreadPoolExecutor() as pool:
            steps = [
                pool.submit(apply.apply_config, environment, node)
                for node in environment.control_planes
            ]
            for step in steps:
                step.result()
            steps = [pool.submit(bootstrap.bootstrap_cluster, environment)]
            steps += [
                pool.submit(apply.apply_config, environment, node) for node in environment.workers
            ]
            for step in steps:
                step.result()
    except TalosmakeError as error:
        clear = error.message.startswith("lab/") and "Traceback" not in str(error)
        unclear = "" if clear else f"not clear: {error}"
        return Outcome(bootstrapped=False, error=str(error), unclear=unclear or _too_long(begun))
    except Exception as error:
        return Outcome(bootstrapped=False, unclear=repr(error))
    return Outcome(environment.paths.bootstrapped.exists(), unclear=_too_long(begun))


def _too_long(begun: float) -> str:
    took = time.monotonic() - begun
    return f"took {took:.0f} s" if took > _LIMIT else ""


@contextlib.contextmanager
def _simulator(root: Path) -> Iterator[Path]:
    """The simulated nodes of one seed; their faults are in the file that is given."""
    state = root / "fleet"
    state.mkdir()
    addresses = [
        line.removeprefix("NODE_IP=")
        for file in sorted(root.glob("patches/envs/lab/*/*/node.env"))
        for line in file.read_text().splitlines()[:1]
    ]
    (state / "nodes.json").write_text(json.dumps([{"address": a} for a in addresses]))
    command = [str(BIN / "talos-simulator"), "serve", "--state", str(state)]
    with (state / "log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--nodes", str(state / "nodes.json")], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 30
        while not (state / "ready").exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield state / "faults.json"
    finally:
        process.terminate()
        process.wait(10)


def _one_seed(template: Path, root: Path, net: int, seed: int) -> tuple[str, str]:
    """How a seed ended at first, and what is wrong with that or with the end ("" for nothing)."""
    here, network = root / str(seed), f"127.{net}.{seed + 1}"
    shutil.copytree(template, here)
    _place(here, network)
    os.chdir(here)
    with _simulator(here) as faults:
        faults.write_text(json.dumps(_faults(seed, network)))
        first = _deploy()
        faults.unlink()
        (here / _CLUSTER).write_text(_SIMULATED + _LONG)
        last = _deploy()
        founded = _etcd_clusters(here / "fleet")
    ended = "bootstrapped" if first.bootstrapped else "stopped"
    if first.unclear or last.unclear:
        return ended, f"seed {seed}: {first.unclear or last.unclear}"
    if not last.bootstrapped:
        return ended, f"seed {seed}: without faults: {last.error}"
    return ended, f"seed {seed}: {founded} etcd clusters" * (founded != 1)


def _etcd_clusters(fleet: Path) -> int:
    """How many times etcd was founded."""
    file = fleet / "etcd.json"
    return len(json.loads(file.read_text())) if file.exists() else 0


def _place(root: Path, network: str) -> None:
    """Give the nodes of a project their addresses."""
    for node, last in _NODES.items():
        path = root / f"patches/envs/lab/{node}/node.env"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NODE_IP={network}.{last}\n")


def _whole_run(template: Project, root: Path, net: int, seed: int) -> tuple[str, str]:
    network = f"127.{net}.{seed + 1}"
    project = replace(template, root=root / str(seed))
    shutil.copytree(template.root, project.root)
    _place(project.root, network)
    try:
        project.ok(".simulator/lab/ready", *UP)
        faults = project.write(".simulator/lab/faults.json", json.dumps(_faults(seed, network)))
        first = project.snakemake(*UP, timeout=_LIMIT + 30)
        faults.unlink()
        project.write(_CLUSTER, _SIMULATED + _LONG)
        clear = first.code == 0 or first.error.startswith("Error: lab/")
        if not clear or "Traceback" in first.output:
            return "stopped", f"seed {seed}: {first.output}"
        project.ok(*UP)
        founded = _etcd_clusters(project.root / ".simulator/lab")
    except AssertionError as error:
        return "stopped", f"seed {seed}: {error}"
    finally:
        project.stop_simulators()
    ended = "stopped" if first.code else "bootstrapped"
    return ended, f"seed {seed}: {founded} etcd clusters" * (founded != 1)


@pytest.mark.parametrize("count", [_FEWER, pytest.param(_SEEDS, marks=pytest.mark.long)])
def test_each_seed_ends_well(
    count: int,
    project: Project,
    tmp_path: Path,
    worker_id: str,
    record_property: Callable[[str, object], None],
) -> None:
    net = 180 + int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 198
    project.environment("lab", _SHORT, cluster_env=_SIMULATED)
    _place(project.root, f"127.{net}.250")
    project.ok("validate", *UP)
    shutil.rmtree(project.root / ".snakemake")
    runs = tmp_path / "runs"
    runs.mkdir()
    context = multiprocessing.get_context("spawn")
    in_process = partial(_one_seed, project.root, runs, net)
    # More than there are cores: most of the time is waiting for what a fault keeps back.
    with ProcessPoolExecutor(8, mp_context=context) as pool:
        seeds = list(pool.map(in_process, range(_WHOLE_RUNS, count)))
    with ThreadPoolExecutor(3) as threads:
        whole = partial(_whole_run, project, runs, net)
        seeds += threads.map(whole, range(_WHOLE_RUNS))
    ends = [ended for ended, _ in seeds]
    record_property(
        "count",
        f"{len(ends)} seeds, {_WHOLE_RUNS} of them whole runs: {ends.count('bootstrapped')} "
        f"bootstrapped at once, {ends.count('stopped')} stopped with an error and finished later",
    )
    assert [wrong for _, wrong in seeds if wrong] == []
    assert len(ends) == count
    assert {"bootstrapped", "stopped"} == set(ends)
