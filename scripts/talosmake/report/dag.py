"""Pictures: an environment's nodes and the state of each of their steps, as SVG and as Mermaid."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined

from talosmake.base import files
from talosmake.base.errors import ToolError
from talosmake.base.process import run
from talosmake.base.progress import error_in, say
from talosmake.inventory.model import Environment, Node, Role

_TEMPLATES = Path(__file__).parent / "templates"
_SUMMARY_TIMEOUT = 600.0
# From this number of nodes on, those of a role whose steps are in the same states share a row.
_GROUPED_FROM = 12


class StepState(StrEnum):
    """How a step is. The order is that of urgency."""

    FAILED = "failed"
    STALE = "stale"
    TO_RUN = "to run"
    FRESH = "fresh"

    @property
    def sign(self) -> str:
        """What tells it apart without colours."""
        return {"failed": "✗", "stale": "↻", "to run": "○", "fresh": "✓"}[self.value]

    @property
    def css(self) -> str:
        """Its class in the SVG and in Mermaid."""
        return self.value.replace(" ", "-")


# The steps of a node by their rules, in their order, and those of the whole environment.
NODE_STEPS = {
    "render_config": "render",
    "validate_config": "validate",
    "make_vm": "machine",
    "apply_controlplane": "apply",
    "apply_worker": "apply",
}
CLUSTER_STEPS = {
    "throwaway_secrets": "secrets",
    "cilium_layer": "Cilium",
    "talosconfig": "talosconfig",
    "apply_script": "apply.sh",
    "lint_environment": "lint",
    "make_network": "network",
    "make_storage": "storage",
    "start_simulator": "simulator",
    "start_lab": "lab",
    "bootstrap_cluster": "bootstrap",
    "kubeconfig": "kubeconfig",
}


@dataclass(frozen=True)
class Workflow:
    """The workflow as it was called, to ask Snakemake about it.

    :ivar config: what ``--config`` gave: it may decide what depends on what.
    """

    snakefile: Path
    config: Mapping[str, Any]

    def command(self, environment: Environment, *what: str) -> list[str]:
        """A call of Snakemake about one environment."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.snakefile), *what]
        config = {**self.config, "env": environment.name}
        # Snakemake reads values as YAML, of which JSON is a part.
        return [*command, "--config", *(f"{key}={json.dumps(config[key])}" for key in config)]


@dataclass(frozen=True)
class Step:
    """One output of the workflow, and how it is.

    :ivar log: its job's log file.
    :ivar error: what its last job ended with, where it failed.
    """

    output: str
    rule: str
    state: StepState
    log: str = ""
    error: str = ""

    @property
    def node(self) -> str:
        """The config name of the node that it belongs to; "" for one of the whole environment."""
        return Path(self.output).name.partition(".")[0] if self.rule in NODE_STEPS else ""


@dataclass(frozen=True)
class Row:
    """A node, or several whose steps are in the same states.

    :ivar steps: the state of each step, by what it is called.
    """

    names: tuple[str, ...]
    role: Role
    steps: Mapping[str, StepState]

    @property
    def label(self) -> str:
        """The name, or the first and the last with their count."""
        if len(self.names) == 1:
            return self.names[0]
        return f"{self.names[0]} … {self.names[-1]} ({len(self.names)})"


@dataclass(frozen=True)
class Dag:
    """The DAG as it is drawn: its steps by node.

    :ivar cluster: the state of each step of the whole environment, bootstrap left out.
    :ivar failed: the steps that failed.
    """

    title: str
    cluster: Mapping[str, StepState]
    rows: Sequence[Row]
    bootstrap: StepState | None
    failed: Sequence[Step] = ()

    def of(self, node: Node) -> Mapping[str, StepState]:
        """The states of a node's steps."""
        return next(
            row.steps for row in self.rows if row.role is node.role and node.name in row.names
        )

    @property
    def columns(self) -> list[str]:
        """The steps that nodes have here, in their order."""
        there = {step for row in self.rows for step in row.steps}
        return [step for step in dict.fromkeys(NODE_STEPS.values()) if step in there]

    @property
    def counts(self) -> dict[StepState, int]:
        """How many steps are in which state."""
        states = [*self.cluster.values(), *([self.bootstrap] if self.bootstrap else [])]
        for row in self.rows:
            states += list(row.steps.values()) * len(row.names)
        return {state: states.count(state) for state in StepState}


def steps(summary: str, errors: Mapping[str, str]) -> Iterator[Step]:
    """Read what ``snakemake --summary`` says.

    :param errors: by log file, what its job ended with; "" where it did not fail.
    """
    table = summary[summary.index("output_file\t") :] if "output_file\t" in summary else ""
    for line in csv.DictReader(table.splitlines(), delimiter="\t"):
        log, error = line["log-file(s)"], ""
        if line["plan"] == "no update":
            state = StepState.FRESH
        elif error := errors.get(log, ""):
            state = StepState.FAILED
        elif line["status"] in ("missing", "ok"):
            # What is there and will be made again because of another step is stale by it only.
            state = StepState.TO_RUN if line["status"] == "missing" else StepState.STALE
        else:
            state = StepState.STALE
        yield Step(line["output_file"], line["rule"], state, log, error)


def arranged(environment: Environment, found: Sequence[Step]) -> Dag:
    """Arrange the steps by node."""
    cluster: dict[str, StepState] = {}
    nodes: dict[str, dict[str, StepState]] = {node.config_name: {} for node in environment.nodes}
    bootstrap = None
    for step in found:
        if step.rule == "bootstrap_cluster":
            bootstrap = step.state
        elif step.rule in CLUSTER_STEPS:
            cluster[CLUSTER_STEPS[step.rule]] = step.state
        elif step.node in nodes:
            nodes[step.node][NODE_STEPS[step.rule]] = step.state
    failed = [step for step in found if step.state is StepState.FAILED]
    return Dag(environment.name, cluster, _rows(environment, nodes), bootstrap, failed)


def _rows(environment: Environment, nodes: Mapping[str, Mapping[str, StepState]]) -> list[Row]:
    """A row for each node; of many, those of a role that are in the same states share one."""
    many = len(environment.nodes) >= _GROUPED_FROM
    groups: dict[object, list[Node]] = {}
    for node in environment.nodes:
        states = tuple(nodes[node.config_name].items())
        groups.setdefault((node.role, states, "" if many else node.name), []).append(node)
    return [
        Row(tuple(node.name for node in row), row[0].role, nodes[row[0].config_name])
        for group in groups.values()
        for row in _split(group, nodes[group[0].config_name])
    ]


def _split(group: list[Node], states: Mapping[str, StepState]) -> list[list[Node]]:
    """A row for each of a few nodes that failed: somebody looks for their names."""
    few = len(group) < _GROUPED_FROM
    return [[node] for node in group] if few and StepState.FAILED in states.values() else [group]


def summary_of(environment: Environment, workflow: Workflow) -> str:
    """Ask Snakemake for the state of everything up to bootstrap; nothing is run.

    :raises ToolError: when it cannot say.
    """
    command = workflow.command(environment, "up", "--summary")
    result = run(command, timeout=_SUMMARY_TIMEOUT)
    if not result.ok:
        error = result.stderr[result.stderr.find("Error:") :].strip()
        raise ToolError(f"Snakemake cannot say how {environment.name} is: {error}")
    return result.stdout.decode()


def failures(summary: str) -> dict[str, str]:
    """The error in each log file that a summary names; "" where there is none."""
    return {log: error_in(Path(log)) for log in re.findall(r"logs/\S+\.log", summary)}


def mermaid(drawn: Dag) -> str:
    """The DAG as a Mermaid flowchart, for a pull request."""
    lines = ["flowchart LR"]
    made = [
        f'  c{number}["{state.sign} {name}"]:::{state.css}'
        for number, (name, state) in enumerate(drawn.cluster.items())
    ]
    if made:
        lines += [f'  subgraph cluster["{drawn.title}"]', *(f"  {line}" for line in made), "  end"]
    for role in Role:
        rows = [(i, row) for i, row in enumerate(drawn.rows) if row.role is role]
        if not rows:
            continue
        lines.append(f'  subgraph {role}["{role.directory.replace("_", " ")}"]')
        for number, row in rows:
            cells = [
                f'n{number}_{step}["{row.steps[step].sign} {step}{_first(row, step)}"]'
                f":::{row.steps[step].css}"
                for step in drawn.columns
                if step in row.steps
            ]
            lines.append("    " + " --> ".join(cells))
        lines.append("  end")
    if drawn.bootstrap:
        lines.append(f'  bootstrap["{drawn.bootstrap.sign} bootstrap"]:::{drawn.bootstrap.css}')
        lines.append(f"  {Role.CONTROLPLANE} --> bootstrap")
    if any(row.role is Role.WORKER for row in drawn.rows):
        lines.append(f"  {Role.CONTROLPLANE} --> {Role.WORKER}")
    colours = {"fresh": "#1a7f37", "stale": "#9a6700", "to-run": "#57606a", "failed": "#cf222e"}
    lines += [
        f"  classDef {name} stroke:{colour},stroke-width:2px" for name, colour in colours.items()
    ]
    return "\n".join(lines) + "\n"


def _first(row: Row, step: str) -> str:
    """The name of the row, in its first cell."""
    return f"<br/>{row.label}" if step == next(iter(row.steps)) else ""


def svg(drawn: Dag) -> str:
    """The DAG as one self-contained SVG, light and dark."""
    jinja = Jinja(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return jinja.get_template("dag.svg.j2").render(dag=drawn, states=StepState, roles=Role)


def gather(environment: Environment, workflow: Workflow) -> Dag:
    """What there is to draw of an environment.

    :raises ToolError: as :func:`summary_of`.
    """
    summary = summary_of(environment, workflow)
    return arranged(environment, list(steps(summary, failures(summary))))


def write(environments: Sequence[Environment], workflow: Workflow) -> None:
    """The target ``dag``: ``dag.svg`` and ``dag.mmd`` of each environment."""
    for environment in environments:
        drawn = gather(environment, workflow)
        files.output_directory(environment.paths.root)
        for path, text in (
            (environment.paths.dag, svg(drawn)),
            (environment.paths.dag.with_suffix(".mmd"), mermaid(drawn)),
        ):
            files.write_atomically(path, text)
        counts = ", ".join(f"{count} {state}" for state, count in drawn.counts.items() if count)
        say(f"{environment.paths.dag} (and .mmd): {counts}")
