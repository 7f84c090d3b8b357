"""Report: one self-contained HTML page about an environment, with nothing secret in it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined

from talosmake.base import files, git, marker
from talosmake.base.progress import say
from talosmake.checks import lint
from talosmake.checks.finding import Finding
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment, Node, Role
from talosmake.render import credentials
from talosmake.report import dag as report_dag
from talosmake.report import diff, explain, journal, status
from talosmake.report.journal import Job
from talosmake.rollout import installed, waits

_TEMPLATES = Path(__file__).parent / "templates"
_AT_ONCE = 4
# So many jobs of a run have a line each; of more, so many that took longest.
_ROWS = 60
_LONGEST = 12


@dataclass(frozen=True)
class Line:
    """A line of a config: the YAML, and the file that set its value."""

    yaml: str
    origin: str


@dataclass(frozen=True)
class NodePart:
    """What the page says of one node.

    :ivar step: how far it is: rendered, validated, applied, or "-".
    :ivar steps: how each of its steps is.
    :ivar failed: its steps that failed.
    :ivar live: what answers at its address; "" where nobody asked.
    :ivar config: its machine config, secrets redacted, with the origin of every value; empty where
        there is none.
    :ivar differs: whether it differs from Git, where it was asked; None where nobody knows.
    :ivar unknown: whether it gave no answer.
    :ivar difference: between the node and Git, as lines of a unified diff.
    :ivar talos: the Talos that it runs, as it says; "" where nobody knows.
    :ivar to_do: how it gets the Talos that Git says; nothing where it runs that, or nobody knows.
    :ivar markers: what the markers say, by step.
    :ivar waits: settings that it has, and that are not in force before a reboot.
    :ivar way_on: the command that reboots it then.
    """

    node: Node
    step: str
    steps: Mapping[str, report_dag.StepState]
    failed: Sequence[report_dag.Step]
    config: Sequence[Line]
    markers: Mapping[str, Mapping[str, object]]
    findings: Sequence[Finding]
    live: str = ""
    differs: bool | None = None
    unknown: bool = False
    difference: Sequence[str] = ()
    talos: str = ""
    to_do: Sequence[str] = ()
    waits: Sequence[str] = ()
    way_on: str = ""

    @property
    def state(self) -> str:
        """How it is, in words."""
        if self.failed:
            return ", ".join(f"{report_dag.NODE_STEPS[step.rule]} failed" for step in self.failed)
        if self.unknown:
            return f"{self.step}, cannot be compared"
        if self.stale and self.differs:
            return f"{self.step}, differs from Git"
        if self.stale:
            return f"{self.step}, changed since"
        if self.waits:
            return f"{self.step}, {waits.NOT_IN_FORCE}"
        return self.step if self.step != "-" else "nothing rendered"

    @property
    def kind(self) -> str:
        """The same in a word, for its colour."""
        if self.failed or self.unknown:
            return "failed"
        return "stale" if self.stale or self.waits else self.step if self.step != "-" else "none"

    @property
    def stale(self) -> bool:
        """Whether it is not as Git says; where the node was asked, that counts."""
        if self.differs is None:
            return report_dag.StepState.STALE in self.steps.values()
        # A node to which nothing was applied yet is new, and nothing is wrong with it.
        return self.differs and (self.step == "applied" or bool(self.difference or self.to_do))


@dataclass(frozen=True)
class Timeline:
    """The jobs of the last run, by their start."""

    jobs: Sequence[Job]

    @property
    def start(self) -> float:
        """When the first began, in seconds, Unix time."""
        return self.jobs[0].start

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return max(job.end for job in self.jobs) - self.start

    @property
    def began(self) -> datetime:
        """When it began, in UTC."""
        return datetime.fromtimestamp(self.start, UTC)

    @property
    def lanes(self) -> Sequence[Sequence[Job]]:
        """As many lines as there were jobs at once."""
        return journal.lanes([*self.jobs])

    @property
    def rows(self) -> Sequence[Job]:
        """The jobs that have a line of their own: all, or of many those that took longest."""
        if len(self.jobs) <= _ROWS:
            return self.jobs
        longest = sorted(self.jobs, key=lambda job: (not job.failed, -job.seconds))[:_LONGEST]
        return sorted(longest, key=lambda job: job.start)

    def left(self, job: Job) -> float:
        """Where a job begins, in percent of the whole."""
        return 100 * (job.start - self.start) / max(self.seconds, 0.001)

    def width(self, job: Job) -> float:
        """How long it is, in percent of the whole."""
        return 100 * job.seconds / max(self.seconds, 0.001)


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    environment: Environment
    nodes: Sequence[NodePart]
    findings: Sequence[Finding]
    steps: report_dag.Dag
    timeline: Timeline | None
    commit: str
    made: datetime
    asked: bool

    def of(self, role: Role) -> list[NodePart]:
        """The nodes of a role."""
        return [part for part in self.nodes if part.node.role is role]

    @property
    def states(self) -> list[tuple[str, str, int]]:
        """How the nodes are: kind, words and how many, those that need somebody first."""
        found = Counter((part.kind, part.state) for part in self.nodes)
        order = ["failed", "stale"]
        return [
            (kind, state, count)
            for (kind, state), count in sorted(
                found.items(),
                key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order),
            )
        ]

    @property
    def talos(self) -> str:
        """Which Talos the nodes run, as they say: ``2 run v1.13.0, of 1 it is not known``."""
        counts = Counter(part.talos for part in self.nodes)
        unknown = counts.pop("", 0)
        parts = [f"{count} run{'s' * (count == 1)} {talos}" for talos, count in counts.items()]
        return ", ".join(parts + [f"of {unknown} it is not known"] * (unknown > 0))

    @property
    def failed(self) -> list[report_dag.Step]:
        """What failed for the whole environment."""
        return [step for step in self.steps.failed if not step.node]


def lines_of(annotated: str) -> list[Line]:
    """Split an annotated config (:mod:`talosmake.report.explain`) into YAML and origin."""
    found = []
    for line in annotated.splitlines():
        value, _, origin = line.rpartition("  # ")
        found.append(Line(value, origin) if value else Line(line, ""))
    return found


def _annotated(environment: Environment, node: Node) -> str:
    """The annotated config; explained again only where it is older than the config."""
    kept, config = environment.paths.explained(node), environment.paths.config(node)
    if not kept.exists() or kept.stat().st_mtime_ns < config.stat().st_mtime_ns:
        files.private_directory(kept.parent)
        files.write_atomically(kept, explain.annotated(explain.explain(environment, node)))
    return kept.read_text(encoding="utf-8")


def _is_made(environment: Environment, node: Node) -> bool:
    """Whether there is a validated config; a job that failed took its output away."""
    paths = environment.paths
    return paths.config(node).exists() and paths.validated(node).exists()


def _part(
    environment: Environment, node: Node, drawn: report_dag.Dag, findings: Sequence[Finding]
) -> NodePart:
    paths = environment.paths
    markers = {
        step: said
        for step, path in (
            ("validated", paths.validated(node)),
            ("machine", paths.vm(node)),
            ("applied", paths.applied(node)),
        )
        if (said := marker.read(path))
    }
    shown = {
        step: {key: value for key, value in said.items() if key not in ("warnings", "step", "node")}
        for step, said in markers.items()
    }
    waiting = waits.recorded(environment, node).settings
    return NodePart(
        node,
        status.step_of(environment, node),
        drawn.of(node),
        [step for step in drawn.failed if step.node == node.config_name],
        lines_of(_annotated(environment, node)) if _is_made(environment, node) else (),
        shown,
        [finding for finding in findings if node.name in finding.nodes],
        waits=waiting,
        way_on=waits.way_on(environment, node) if waiting else "",
    )


def _compared(environment: Environment, parts: Sequence[NodePart]) -> list[NodePart]:
    """The nodes with what they run, compared with Git where there is a config to compare."""
    nodes = [part.node for part in parts if part.config]
    seen = {
        one.node.config_name: one
        for one in diff.of_environment(environment, nodes, diff.Against.LIVE)
    }
    return [compared_with(part, seen.get(part.node.config_name)) for part in parts]


def compared_with(part: NodePart, seen: diff.NodeDiff | None) -> NodePart:
    """A node with what was found when it was asked."""
    if seen is None:
        return part
    said = str(seen.error.message) if seen.error else seen.summary
    unknown = seen.error is not None
    differs = None if unknown else seen.differs
    return replace(
        part,
        live=said,
        differs=differs,
        unknown=unknown,
        difference=seen.lines,
        talos=str(seen.talos or ""),
        to_do=seen.to_do,
        waits=part.waits if unknown else seen.waits,
        way_on=part.way_on if unknown else seen.way_on,
    )


def gather(environment: Environment, workflow: report_dag.Workflow, live: bool) -> Page:
    """All that the page shows of an environment.

    :param live: ask the nodes, and compare them with Git.
    :raises TalosmakeError: when a config cannot be explained.
    """
    nodes, failed = environment.nodes, status.failed_nodes(environment)
    findings = (
        lint.findings_of_nodes(environment, [node for node in nodes if node not in failed])
        if failed
        else lint.findings(environment)
    )
    drawn = report_dag.gather(environment, workflow)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(lambda node: _part(environment, node, drawn, findings), nodes))
    run = journal.jobs(environment.name)
    return Page(
        environment,
        _compared(environment, parts) if live else parts,
        findings,
        drawn,
        Timeline(run) if run else None,
        git.described(),
        datetime.now(UTC),
        live,
    )


def html(page: Page) -> str:
    """The page. It needs nothing else, neither files nor network."""
    jinja = Jinja(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["data_uri"] = lambda svg: (
        "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    )
    jinja.filters["words"] = lambda name: name.replace(".", " ").replace("-", " ", 1)
    dag = report_dag.svg(page.steps)
    return jinja.get_template("report.html.j2").render(
        page=page, roles=Role, dag=dag, how=installed.HOW
    )


def write(live: bool, workflow: report_dag.Workflow, *environments: Environment) -> None:
    """The target ``report``: the page of each environment."""
    for environment in environments:
        if live:
            # Talos shows machine configs to os:admin only.
            environment = credentials.looking(environment, Access.DAY)
        text = html(gather(environment, workflow, live))
        files.write_atomically(environment.paths.report, text)
        say(f"{environment.paths.report}: open it in a browser (secrets are redacted)")
