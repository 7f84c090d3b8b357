"""Report: one self-contained HTML page about an environment, with nothing secret in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined

from scripts import diff, explain, files, git, housekeeping, lint_step, marker, picture
from scripts.lint import Finding
from scripts.model import Environment, Node, Role
from scripts.progress import say

_TEMPLATES = Path(__file__).parent / "templates"
_METADATA = Path(".snakemake/metadata")
_AT_ONCE = 4
# Jobs that are further apart than this belong to different runs, in seconds.
_PAUSE = 120.0


@dataclass(frozen=True)
class Line:
    """A line of a config: the YAML, and the file that set its value."""

    yaml: str
    origin: str


@dataclass(frozen=True)
class NodePart:
    """What the page says of one node.

    :ivar step: how far it is: rendered, validated, applied, or "-".
    :ivar live: what answers at its address; "" where nobody asked.
    :ivar config: its machine config, secrets redacted, with the origin of every value.
    :ivar difference: between the node and Git, as lines of a unified diff.
    :ivar markers: what the markers say, by step.
    """

    node: Node
    step: str
    config: Sequence[Line]
    markers: Mapping[str, Mapping[str, object]]
    findings: Sequence[Finding]
    live: str = ""
    difference: Sequence[str] = ()


@dataclass(frozen=True)
class Job:
    """A job of the last run, in seconds from its start."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The jobs of the last run.

    :ivar began: local time in UTC.
    """

    began: datetime
    jobs: Sequence[Job]

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return max((job.end for job in self.jobs), default=0.0)

    @property
    def most_at_once(self) -> int:
        """The most jobs that ran at the same time."""
        return max(
            (sum(o.start <= job.start < o.end for o in self.jobs) for job in self.jobs), default=0
        )


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    environment: Environment
    nodes: Sequence[NodePart]
    findings: Sequence[Finding]
    dag: str
    timeline: Timeline | None
    commit: str
    made: datetime
    asked: bool

    def of(self, role: Role) -> list[NodePart]:
        """The nodes of a role."""
        return [part for part in self.nodes if part.node.role is role]


def lines_of(annotated: str) -> list[Line]:
    """Split an annotated config (:func:`scripts.explain.annotated`) into YAML and origin."""
    found = []
    for line in annotated.splitlines():
        value, _, origin = line.rpartition("  # ")
        found.append(Line(value, origin) if value else Line(line, ""))
    return found


def last_run(records: Sequence[Mapping[str, object]]) -> Timeline | None:
    """The jobs of the last run, from what Snakemake keeps of each job; None where it keeps none.

    :param records: with ``rule``, ``log``, ``starttime`` and ``endtime`` (in seconds, Unix time).
    """
    times = sorted(_times(records), key=lambda job: job.start)
    run: list[Job] = []
    for job in times:
        if run and job.start - max(one.end for one in run) > _PAUSE:
            run = []
        run.append(job)
    if not run:
        return None
    began = run[0].start
    return Timeline(
        datetime.fromtimestamp(began, UTC),
        [replace(job, start=job.start - began, end=job.end - began) for job in run],
    )


def _times(records: Sequence[Mapping[str, object]]) -> Iterator[Job]:
    seen = set()
    for record in records:
        start, end, log = record.get("starttime"), record.get("endtime"), record.get("log")
        if isinstance(start, float) and isinstance(end, float) and isinstance(log, list) and log:
            name = Path(str(log[0])).stem
            if (name, start) not in seen:
                seen.add((name, start))
                yield Job(name, start, end)


def _records(environment: Environment) -> list[Mapping[str, object]]:
    """What Snakemake keeps of the jobs of an environment."""
    found = []
    for path in _METADATA.glob("*"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        logs = record.get("log") if isinstance(record, dict) else None
        if logs and str(logs[0]).startswith(f"logs/{environment.name}/"):
            found.append(record)
    return found


def _annotated(environment: Environment, node: Node) -> str:
    """The annotated config; explained again only where it is older than the config."""
    kept, config = environment.paths.explained(node), environment.paths.config(node)
    if not kept.exists() or kept.stat().st_mtime_ns < config.stat().st_mtime_ns:
        files.private_directory(kept.parent)
        files.write_atomically(kept, explain.annotated(explain.explain(environment, node)))
    return kept.read_text(encoding="utf-8")


def _part(environment: Environment, node: Node, findings: Sequence[Finding]) -> NodePart:
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
        step: {key: value for key, value in said.items() if key not in ("lint", "step", "node")}
        for step, said in markers.items()
    }
    return NodePart(
        node,
        housekeeping.step_of(environment, node),
        lines_of(_annotated(environment, node)),
        shown,
        [finding for finding in findings if node.name in finding.nodes],
    )


def _compared(environment: Environment, parts: Sequence[NodePart]) -> list[NodePart]:
    """The nodes with what they run, compared with Git."""
    nodes = [part.node for part in parts]
    seen = diff.of_environment(environment, nodes, diff.Against.LIVE)
    return [
        replace(
            part,
            live=str(one.error.message) if one.error else one.said,
            difference=one.lines,
        )
        for part, one in zip(parts, seen, strict=True)
    ]


def gather(environment: Environment, snakefile: Path, live: bool) -> Page:
    """All that the page shows of an environment.

    :param live: ask the nodes, and compare them with Git.
    :raises TalosmakeError: when a config cannot be explained.
    """
    findings = lint_step.findings(environment)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(lambda node: _part(environment, node, findings), environment.nodes))
    return Page(
        environment,
        _compared(environment, parts) if live else parts,
        findings,
        picture.svg(picture.gather(environment, snakefile)),
        last_run(_records(environment)),
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
    return jinja.get_template("report.html.j2").render(page=page, roles=Role)


def write(live: bool, snakefile: Path, *environments: Environment) -> None:
    """The target ``report``: the page of each environment."""
    for environment in environments:
        text = html(gather(environment, snakefile, live))
        files.write_atomically(environment.paths.report, text)
        say(f"{environment.paths.report}: open it in a browser (secrets are redacted)")
