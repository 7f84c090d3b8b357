"""Time the workflow beside what it is compared with, and print a table: see README.md."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.project import BIN, OWN_OUTPUT, Project

from benchmarks import fleet

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Cost:
    """What a command took.

    :ivar seconds: from start to end.
    :ivar memory: the most that one of its processes held, in MiB.
    """

    seconds: float
    memory: float


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    ours: str
    other: str
    result: str
    aim: str


def cost(command: Sequence[str], project: Project) -> Cost:
    """Run a command in a project; its failure ends the benchmark."""
    log = project.root / "benchmark.log"
    with log.open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=project.root, env=project.variables, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
    if process.returncode:
        sys.exit(f"{' '.join(command)}:\n{log.read_text(errors='replace')}")
    return Cost(seconds, usage.ru_maxrss / 1024)


def snakemake(project: Project, *arguments: str) -> Cost:
    return cost(project.command(*arguments), project)


def in_turn(runs: int, *measure: Callable[[], Cost]) -> list[Cost]:
    """The median of each, measured by turns so that a busy minute of the machine meets all."""
    taken = [[one() for one in measure] for _ in range(runs)]
    return [
        Cost(
            statistics.median(cost.seconds for cost in column),
            max(cost.memory for cost in column),
        )
        for column in zip(*taken, strict=True)
    ]


def cold(root: Path, runs: int, count: int) -> Iterator[Row]:
    """Render and validate all nodes, against a serial shell loop of the same commands."""
    project = fleet.real_machines(root, count)
    script = _shell_loop(project)

    def ours(*options: str) -> Cost:
        for made in ("rendered_configs", ".snakemake", "logs"):
            shutil.rmtree(project.root / made, ignore_errors=True)
        return snakemake(project, *options, "--config", "env=bench")

    def loop() -> Cost:
        shutil.rmtree(project.root / "loop", ignore_errors=True)
        return cost(["bash", str(script)], project)

    mine, unseen, other = in_turn(runs, ours, lambda: ours(OWN_OUTPUT), loop)
    _same_configs(project)
    yield Row(
        f"render and validate {count} nodes, from nothing",
        f"{mine.seconds:.1f} s",
        f"serial shell loop: {other.seconds:.1f} s",
        f"{mine.seconds / other.seconds:.2f}",
        "0.5",
    )
    yield Row(
        "the same",
        f"{mine.seconds:.1f} s",
        f"with Snakemake's own output: {unseen.seconds:.1f} s",
        f"{mine.seconds / unseen.seconds:.2f}",
        "1",
    )


def _shell_loop(project: Project) -> Path:
    """What one writes by hand: sops, talosctl gen config and validate, node by node."""
    lines = ["set -euo pipefail", "mkdir -p loop"]
    for env_file in sorted(project.root.glob("patches/envs/bench/*/*/node.env")):
        facts = dict(line.split("=", 1) for line in env_file.read_text().split())
        directory, name = env_file.parent, env_file.parent.name
        patch = (directory / "node.yaml").read_text()
        for fact, value in facts.items():
            patch = patch.replace(f"${{{fact}}}", value)
        hostname = (
            "apiVersion: v1alpha1\nkind: HostnameConfig\n"
            f"hostname: {name.replace('_', '-')}\nauto: off\n"
        )
        project.write(f"patches.loop/{name}.yaml", patch)
        project.write(f"patches.loop/{name}.hostname.yaml", hostname)
        role = "controlplane" if directory.parent.name == "control_planes" else "worker"
        patches = " ".join(
            f"--config-patch @{path}"
            for path in (
                f"patches.loop/{name}.hostname.yaml",
                "patches/common.yaml",
                "patches/envs/bench/common.yaml",
                f"patches.loop/{name}.yaml",
            )
        )
        lines += [
            "sops exec-file secrets/bench.yaml 'talosctl gen config talos-test "
            "https://10.9.0.10:6443 --with-secrets {} --talos-version v1.13 "
            "--kubernetes-version 1.36.0 --install-image ghcr.io/siderolabs/installer:v1.13.0 "
            f"--with-docs=false --with-examples=false -t {role} {patches} -o -' "
            f"> loop/{role}-{name}.yaml",
            f"talosctl validate --mode metal --config loop/{role}-{name}.yaml",
        ]
    return project.write("loop.sh", "\n".join(lines) + "\n")


def _same_configs(project: Project) -> None:
    """Both ways must have made the same bytes, or the comparison means nothing."""
    for path in (project.root / "loop").iterdir():
        if path.read_bytes() != (project.root / "rendered_configs/bench" / path.name).read_bytes():
            sys.exit(f"{path.name} differs between the workflow and the shell loop")


def incremental(root: Path, runs: int, count: int) -> Iterator[Row]:
    """Nothing changed and one node changed, against Snakemake with nothing to do."""
    project = fleet.real_machines(root, count)
    first = snakemake(project, "--config", "env=bench")
    bare = _bare_snakemake(root / "bare", count)
    snakemake_alone = [str(BIN / "snakemake"), "--scheduler", "greedy", "-j8"]
    cost(snakemake_alone, bare)
    patch = project.root / f"patches/envs/bench/workers/node_{count - 1:04}/node.yaml"
    text = patch.read_text()
    changes = iter(range(1000))

    def one_changed() -> Cost:
        patch.write_text(f"{text}  sysctls:\n    kernel.pid_max: '{100000 + next(changes)}'\n")
        return snakemake(project, "--config", "env=bench")

    none, one, alone = in_turn(
        runs,
        lambda: snakemake(project, "--config", "env=bench"),
        one_changed,
        lambda: cost(snakemake_alone, bare),
    )
    for what, mine in (("nothing changed", none), ("one node changed", one)):
        yield Row(
            f"{what}, of {count} nodes",
            f"{mine.seconds:.2f} s",
            f"Snakemake with nothing to do: {alone.seconds:.2f} s",
            f"{mine.seconds - alone.seconds:+.2f} s",
            "+0.5 s" if mine is one else "",
        )
    if count >= 1000:
        yield Row(
            f"render and validate {count} nodes: memory",
            f"{first.memory:.0f} MiB",
            "",
            f"{first.seconds:.0f} s",
            "400 MB",
        )


def _bare_snakemake(root: Path, count: int) -> Project:
    """A workflow with as many jobs as ours has, and nothing in them."""
    project = Project(root, {})
    project.write("Snakefile", (HERE / "bare.smk").read_text().replace("COUNT", str(count)))
    for number in range(count):
        for layer in ("common", "env", "own"):
            project.write(f"in/{number}.{layer}", "")
    return project


def deploy(root: Path, runs: int, count: int) -> Iterator[Row]:
    """Apply to fresh simulated nodes, against apply.sh, which takes one after the other."""
    taken = []
    for run in range(runs):
        ours = fleet.simulated_nodes(root / f"ours-{run}", count, "127.98.0")
        series = fleet.simulated_nodes(root / f"series-{run}", count, "127.99.0")
        try:
            for project in (ours, series):
                snakemake(project, "validate", ".simulator/bench/ready", "--config", "env=bench")
            taken.append(
                (
                    snakemake(ours, "apply", "-j32", "--config", "env=bench", "workers_at_once=32"),
                    cost(["bash", "rendered_configs/bench/apply.sh"], series),
                )
            )
        finally:
            ours.stop_simulators()
            series.stop_simulators()
    mine = statistics.median(ours.seconds for ours, _ in taken)
    other = statistics.median(series.seconds for _, series in taken)
    yield Row(
        f"apply to {count} simulated nodes",
        f"{mine:.1f} s",
        f"apply.sh: {other:.1f} s",
        f"{mine / other:.2f}",
        "0.33",
    )


def table(rows: Sequence[Row]) -> str:
    cells = [("what", "talosmake", "beside", "result", "aim")]
    cells += [(row.what, row.ours, row.other, row.result, row.aim) for row in rows]
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([lines[0], "|---|---|---|---|---|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="the median of so many (3)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        measure, count = BENCHMARKS[name]
        with tempfile.TemporaryDirectory(prefix="talosmake-") as directory:
            for row in measure(Path(directory) / "project", arguments.runs, count):
                print(f"{row.what}: {row.ours}; {row.other}; {row.result}", file=sys.stderr)
                rows.append(row)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n\n{table(rows)}")


BENCHMARKS: dict[str, tuple[Callable[[Path, int, int], Iterator[Row]], int]] = {
    "cold": (cold, 100),
    "10": (incremental, 10),
    "100": (incremental, 100),
    "1000": (incremental, 1000),
    "deploy": (deploy, 50),
}

if __name__ == "__main__":
    main()
