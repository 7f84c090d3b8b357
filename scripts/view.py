"""The live view of a run: what is done, what each node does now, what is waited for (pure)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

# What a job does, by its rule.
_DOES = {
    "render_config": "rendering",
    "validate_config": "validating",
    "apply_controlplane": "applying",
    "apply_worker": "applying",
    "bootstrap_cluster": "bootstrapping",
    "make_vm": "making the machine",
    "start_lab": "powering on",
    "start_simulator": "starting simulated nodes",
    "cilium_layer": "rendering Cilium",
}
# How many lines there are for what the first one waits for.
_LINES = 3
_WHO = re.compile(r"^(?P<env>[\w.-]+)(?:/(?P<node>[\w.-]+))?: (?P<said>.*)", re.DOTALL)


@dataclass
class Running:
    """A job that runs.

    :ivar who: the node, or the environment.
    :ivar since: when it began, in seconds of the clock that :class:`View` is given.
    :ivar said: its last word.
    """

    who: str
    does: str
    since: float
    said: str = ""


@dataclass
class View:
    """What is known of a run.

    :ivar running: by Snakemake's number of the job.
    :ivar errors: what failed, to be shown together at the end.
    """

    began: float
    total: int = 0
    done: int = 0
    running: dict[int, Running] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    interrupted: bool = False
    _known: dict[int, tuple[str, str]] = field(default_factory=dict)

    def know(self, job: int, rule: str, wildcards: Mapping[str, str]) -> None:
        """Remember what a job is."""
        env, node = wildcards.get("env", ""), wildcards.get("node", "")
        who = f"{env}/{node}" if node else env
        self._known[job] = who, does = who, _DOES.get(rule, rule.replace("_", " "))
        if job in self.running:  # which Snakemake tells first
            self.running[job].who, self.running[job].does = who, does

    def start(self, jobs: Sequence[int], now: float) -> None:
        """Jobs began."""
        for job in jobs:
            who, does = self._known.get(job, ("", f"job {job}"))
            self.running[job] = Running(who, does, now)

    def finish(self, job: int) -> None:
        """A job ended, well or not."""
        self.running.pop(job, None)

    def hear(self, text: str) -> bool:
        """Take what a step says for the last word of its job; whether there is such a job."""
        found = _WHO.match(text)
        if found is None:
            return False
        env, node, said = found["env"], found["node"], found["said"].splitlines()[0]
        if node and self._last_word(f"{env}/{node}", said):
            return True
        # A step for the whole environment tells of one of its nodes.
        return self._last_word(env, f"{node}: {said}" if node else said)

    def _last_word(self, who: str, said: str) -> bool:
        jobs = [job for job in self.running.values() if job.who == who]
        for job in jobs:
            job.said = said
        return bool(jobs)


def shown(view: View, now: float, rows: int, columns: int) -> RenderableType:
    """The view as it is drawn.

    :param now: in seconds of the same clock as all other times.
    :param rows: how many lines there are for it.
    :param columns: how many characters there are in a line.
    """
    head = Table.grid(padding=(0, 2))
    count = f"{view.done} of {view.total} steps" if view.total else "looking what is to do"
    bar = ProgressBar(total=max(view.total, 1), completed=view.done, width=30)
    head.add_row(bar, Text(count), Text(clock(now - view.began), style="dim"))
    jobs = sorted(view.running.values(), key=lambda job: (not job.said, job.since, job.who))
    room = max(rows - 1 - _LINES, 1)
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs[:room]:
        cells = job.who, job.does, clock(now - job.since)
        # Whoever waits longest says the whole of it; of the others, what fits into the line.
        said = (
            _folded(job.said, columns - _beside(jobs[:room], now)) if job is jobs[0] else job.said
        )
        table.add_row(
            Text(cells[0], style="bold"),
            Text(cells[1]),
            Text(cells[2], style="dim"),
            Text(said, style="dim"),
        )
    more = len(jobs) - room
    tail = [Text(f"and {more} more", style="dim")] if more > 0 else []
    return Group(head, table, *tail)


def _beside(jobs: Sequence[Running], now: float) -> int:
    """How many characters of a line the columns before the last one take."""
    cells = [(job.who, job.does, clock(now - job.since)) for job in jobs]
    return sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True))


def _folded(text: str, columns: int) -> str:
    return "\n".join(textwrap.wrap(text, max(columns, 20), max_lines=_LINES, placeholder=" …"))


def clock(seconds: float) -> str:
    """A time as a person reads it, e.g. ``7 s`` or ``2:05``."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02}"
