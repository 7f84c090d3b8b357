"""What is known of a run: what is done, what each node does now, what is waited for (pure).

Shown on a terminal by :mod:`talosmake.workflow.live_view`, elsewhere by :class:`Lines`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

# What a job does, and has done, by its rule.
_WORDS = {
    "render_config": ("rendering", "rendered"),
    "validate_config": ("validating", "validated"),
    "unpack_config": ("unpacking", "unpacked"),
    "apply_controlplane": ("applying", "applied"),
    "apply_worker": ("applying", "applied"),
    "bootstrap_cluster": ("bootstrapping", "bootstrapped"),
    "make_network": ("making the network", "network made"),
    "make_storage": ("making the storage", "storage made"),
    "make_vm": ("making the machine", "machine made"),
    "start_lab": ("powering on", "powered on"),
    "start_simulator": ("starting simulated nodes", "simulated nodes started"),
    "throwaway_secrets": ("making throw-away secrets", "throw-away secrets made"),
    "talosconfig": ("writing the talosconfig", "talosconfig written"),
    "kubeconfig": ("fetching the kubeconfig", "kubeconfig fetched"),
    "apply_script": ("writing apply.sh", "apply.sh written"),
    "cilium_layer": ("rendering Cilium", "Cilium rendered"),
    "lint_environment": ("linting", "linted"),
}
_WHO = re.compile(r"^(?P<env>[\w.-]+)(?:/(?P<node>[\w.-]+))?: (?P<message>.*)", re.DOTALL)


@dataclass
class Running:
    """A job that runs.

    :ivar who: the node, or the environment; "" for a target.
    :ivar since: when it began, in seconds of the clock that :class:`View` is given.
    :ivar does: what it does, e.g. ``applying``.
    :ivar did: the same when it is done.
    :ivar last_message: the last message of it.
    """

    who: str
    does: str
    did: str
    since: float
    last_message: str = ""


@dataclass
class View:
    """What is known of a run.

    :ivar running: by Snakemake's number of the job.
    :ivar failed: how many jobs failed.
    :ivar errors: what failed, to be shown together at the end.
    """

    began: float
    total: int = 0
    done: int = 0
    failed: int = 0
    running: dict[int, Running] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    interrupted: bool = False
    _known: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def know(self, job: int, rule: str, wildcards: Mapping[str, str]) -> None:
        """Remember what a job is."""
        env, node = wildcards.get("env", ""), wildcards.get("node", "")
        name = rule.replace("_", " ")
        self._known[job] = (f"{env}/{node}" if node else env, *_WORDS.get(rule, (name, name)))
        if job in self.running:  # which Snakemake tells first
            self.start([job], self.running[job].since)

    def start(self, jobs: Sequence[int], now: float) -> None:
        """Jobs began."""
        for job in jobs:
            who, does, did = self._known.get(job, ("", f"job {job}", f"job {job}"))
            self.running[job] = Running(who, does, did, now)

    def finish(self, job: int) -> Running | None:
        """A job ended, well or not: it, as far as it is known."""
        return self.running.pop(job, None)

    def hear(self, text: str) -> bool:
        """Take what a step says for the last word of its job; whether there is such a job."""
        found = _WHO.match(text)
        if found is None:
            return False
        env, node, message = found["env"], found["node"], found["message"].splitlines()[0]
        if node and self._last_word(f"{env}/{node}", message):
            return True
        # A step for the whole environment tells of one of its nodes.
        return self._last_word(env, f"{node}: {message}" if node else message)

    def _last_word(self, who: str, message: str) -> bool:
        jobs = [job for job in self.running.values() if job.who == who]
        for job in jobs:
            job.last_message = message
        return bool(jobs)


class Screen(Protocol):
    """Where a run is shown.

    :ivar draws: whether what runs is redrawn all the time, with the last word of each job.
    """

    draws: bool

    def show(self, text: str, style: str = "") -> None:
        """Show a text that stays.

        :param style: as in rich, where there are any.
        """

    def close(self) -> None:
        """Draw no more."""


class Lines:
    """Plain lines, one after the other, as in a pipeline's log.

    :param stream: where they go.
    """

    draws = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, text: str, style: str = "") -> None:
        """Write a line at once."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is drawn."""


def ended(view: View, job: Running, now: float, failed: bool = False) -> str:
    """The line about a job that ended; "" for a target, which does nothing itself."""
    if not job.who:
        return ""
    width = len(str(view.total))
    count = "failed".rjust(2 * width + 4) if failed else f"{view.done:{width}} of {view.total}"
    took = f" ({clock(now - job.since)})" if now - job.since >= 1 else ""
    return f"{count}  {job.who}: {job.does if failed else job.did}{took}"


def outcome(view: View) -> str:
    """How a run ended that did not do all, and how to go on; "" for one that did."""
    count = f"{view.done} of {view.total} steps"
    if view.interrupted:
        return f"Interrupted after {count}. The same command goes on where this one stopped."
    if view.failed:
        return (
            f"{view.failed} failed, {count} are done. When what is wrong is fixed, the same "
            "command goes on."
        )
    return ""


def clock(seconds: float) -> str:
    """A time as a person reads it, e.g. ``7 s`` or ``2:05``."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02}"
