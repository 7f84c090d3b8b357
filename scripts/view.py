"""The live view of a run: what is done, what each node does now, what is waited for (pure)."""

from __future__ import annotations

import re
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
        who = f"{found['env']}/{found['node']}" if found["node"] else found["env"]
        jobs = [job for job in self.running.values() if job.who == who]
        for job in jobs:
            job.said = found["said"].splitlines()[0]
        return bool(jobs)


def shown(view: View, now: float, rows: int) -> RenderableType:
    """The view as it is drawn.

    :param now: in seconds of the same clock as all other times.
    :param rows: how many lines there are for it.
    """
    head = Table.grid(padding=(0, 2))
    count = f"{view.done} of {view.total} steps" if view.total else "looking what is to do"
    bar = ProgressBar(total=max(view.total, 1), completed=view.done, width=30)
    head.add_row(bar, Text(count), Text(clock(now - view.began), style="dim"))
    jobs = sorted(view.running.values(), key=lambda job: (not job.said, job.since, job.who))
    room = max(rows - 2, 1)
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs[:room]:
        table.add_row(
            Text(job.who, style="bold"),
            Text(job.does),
            Text(clock(now - job.since), style="dim"),
            Text(job.said, style="dim"),
        )
    more = len(jobs) - room
    tail = [Text(f"and {more} more", style="dim")] if more > 0 else []
    return Group(head, table, *tail)


def clock(seconds: float) -> str:
    """A time as a person reads it, e.g. ``7 s`` or ``2:05``."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02}"
