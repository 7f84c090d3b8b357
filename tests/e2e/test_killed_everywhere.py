"""kill -9 of the whole process group at every job of the DAG: the same command then finishes.

One run records all points that a run passes (tests/e2e/killer/sitecustomize.py): of each job its
start, each file it writes (the temporary file is there, and not yet renamed), each program that is
started by a job which touches a machine or a secret, and its end, when Snakemake notes it. Then,
for each of them, a fresh project is killed there, and the same command run again: with what the
kill left of Snakemake's own notes, and without any of Snakemake's flags.

Of a job that only makes files, all points but its writing are for ``make test-lab``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.project import CLUSTER_ENV, REPOSITORY, Project, files_below

UP = ("-j4", "--config", "env=lab")
_KILLER = str(Path(__file__).parent / "killer")
_NODES = {"controlplane-cp_1": 11, "worker-worker_1": 21}
# The jobs of the demo: one of each rule and node.
_JOBS = {
    "apply_script",
    "bootstrap_cluster",
    "kubeconfig",
    "cilium_layer",
    "lint_environment",
    "start_simulator",
    "talosconfig",
    "throwaway_secrets",
    *(f"{node}.{step}" for node in _NODES for step in ("render", "validate", "apply")),
}


@dataclass(frozen=True)
class Lab:
    """A project like the demo, with one control plane and one worker."""

    project: Project
    network: str

    @property
    def temporary(self) -> Path:
        return self.project.root.parent / "tmp"

    def up(self, **killer: str) -> int:
        """Run the command; returns its exit code."""
        variables = {"TMPDIR": str(self.temporary), "PYTHONPATH": _KILLER if killer else ""}
        project = replace(self.project, env={**self.project.env, **variables, **killer})
        if not killer:
            run = project.snakemake(*UP)
            assert run.code == 0, run.output
            return run.code
        process = project.start(*UP)
        output = process.communicate(timeout=180)[0]
        assert process.returncode in (0, -signal.SIGKILL), output
        return process.returncode


def _lab(root: Path, template: Project, network: str) -> Lab:
    root.mkdir()
    (root / "tmp").mkdir()
    # A home of its own: Snakemake's caches are no place for two at a time.
    project = Project(root / "project", {**template.env, "HOME": str(root)})
    project.root.mkdir()
    project.environment(
        "lab",
        "SIMULATED=true\nGOAL=bootstrapped\nNODE_TIMEOUT=60\nETCD_TIMEOUT=60\nCALL_TIMEOUT=10\n"
        "CILIUM_VERSION=1.20.2\n",
        cluster_env=CLUSTER_ENV.replace("10.9.0.10", f"{network}.11").replace("=none", "=job"),
    )
    values = "patches/cilium/values.yaml"
    project.write(values, (REPOSITORY / values).read_text())
    project.node("lab", "control_planes", "cp_1", f"{network}.11", "NODE_MAC=52:54:00:00:00:11\n")
    project.node("lab", "workers", "worker_1", f"{network}.21", "NODE_MAC=52:54:00:00:00:21\n")
    return Lab(project, network)


def _touches(job: str) -> bool:
    """Whether a job touches a machine or a secret."""
    return job.endswith(".apply") or job in ("bootstrap_cluster", "throwaway_secrets")


def _points(recorded: str) -> list[str]:
    """The points to kill at, each once."""
    chosen = []
    for point in dict.fromkeys(recorded.splitlines()):
        job, _, event = point.partition(":")
        # The first of the jobs side by side writes it, another one each time; and what names the
        # directory of this run is never reached in another one.
        if event.startswith("write logs/") or " -C /" in event:
            continue
        program = not event.startswith(("start", "write ", "end "))
        if "--version" not in event and (not program or _touches(job) or job == "start_simulator"):
            chosen.append(point)
    return chosen


def _fewer(points: list[str]) -> list[str]:
    """Those where there is most to lose, and of each other job the files it writes."""
    ends = (".applied", "bootstrapped", ".made")
    return [
        point
        for point in points
        for job, _, event in [point.partition(":")]
        if _touches(job) or event.startswith("write ") or point.endswith(ends)
    ]


def _assert_finished(lab: Lab, secrets_may_be_in: set[str]) -> None:
    root = lab.project.root
    state = root / "rendered_configs/lab/state"
    assert {path.name for path in state.glob("*.applied")} == {f"{name}.applied" for name in _NODES}
    assert (state / "bootstrapped").exists()
    log = lab.project.read(".simulator/lab/log").splitlines()
    bootstraps = [line for line in log if line.endswith("/Bootstrap OK")]
    assert len(bootstraps) == 1, bootstraps
    for name, last in _NODES.items():
        # What the machine keeps on its disk is this node's config and no other's, and every config
        # that it was ever sent was accepted: another node's would differ in role and host name.
        sent = f".simulator/lab/{lab.network}.{last}/persistent.yaml"
        assert (root / sent).read_bytes() == (
            root / f"rendered_configs/lab/{name}.yaml"
        ).read_bytes()
        times = [line for line in log if f"{lab.network}.{last} " in line and "ApplyConf" in line]
        assert 1 <= len(times) <= 2, times
    left = [path for path in files_below(lab.project.root) if path.name.endswith(".tmp")]
    assert left == []
    assert [path for path in lab.temporary.rglob("*") if path.is_file()] == []
    assert {path.name for path in (root / "secrets").iterdir()} == secrets_may_be_in


@pytest.mark.parametrize("all_points", [False, pytest.param(True, marks=pytest.mark.long)])
def test_killed_at_every_job(
    all_points: bool,
    project: Project,
    tmp_path: Path,
    worker_id: str,
    record_property: Callable[[str, object], None],
) -> None:
    net = 150 + int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 199
    record = tmp_path / "points"
    first = _lab(tmp_path / "first", project, f"127.{net}.1")
    labs = [first]
    try:
        assert first.up(KILLER_RECORD=str(record)) == 0
        secrets = {path.name for path in (first.project.root / "secrets").iterdir()}
        _assert_finished(first, secrets)
        points = _points(record.read_text())
        for event in ("start", "end "):
            assert [p for p in points if p.partition(":")[2].startswith(event)]
        assert {p.partition(":")[0] for p in points} == _JOBS | {"snakemake"}
        if not all_points:
            points = _fewer(points)
            assert {p.partition(":")[0] for p in points} == _JOBS | {"snakemake"}

        def killed_and_finished(number: int, point: str) -> str:
            lab = _lab(tmp_path / f"at-{number}", project, f"127.{net}.{number + 2}")
            labs.append(lab)
            try:
                assert lab.up(KILLER_POINT=point) == -signal.SIGKILL, "the point was not reached"
                assert lab.up() == 0
                _assert_finished(lab, secrets)
            except AssertionError as error:
                return f"{point}: {error}"
            finally:
                lab.project.stop_simulators()
            return ""

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ended = pool.map(killed_and_finished, range(len(points)), points)
            failures = [failure for failure in ended if failure]
    finally:
        for lab in labs:
            lab.project.stop_simulators()
    record_property(
        "count",
        f"killed at {len(points)} points of {len(_JOBS)} jobs, "
        f"finished after {len(points) - len(failures)}",
    )
    assert failures == []
