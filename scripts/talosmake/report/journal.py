"""The journal of an environment's last run: which job ran when, and how it ended.

Snakemake keeps the times of the job behind each output. It keeps neither what failed nor which jobs
were one run.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from talosmake.base import files, this_run

_NAME = "last_run.jsonl"


@dataclass(frozen=True)
class Job:
    """A job that ended.

    :ivar name: its log file's, without directory and ending.
    :ivar start: in seconds, Unix time.
    :ivar end: the same.
    """

    name: str
    start: float
    end: float
    failed: bool

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


def path_of(environment: str) -> Path:
    """Where an environment's journal is."""
    return Path("logs") / environment / _NAME


def begin(environment: str) -> None:
    """Begin the journal of a new run; the jobs of this process write into it.

    :raises ConfigError: when it cannot be written.
    """
    files.write_atomically(path_of(environment), "")
    this_run.current().journals.add(path_of(environment))


def join(environment: str) -> None:
    """Write into the journal that another process began, whose jobs this process runs."""
    this_run.current().journals.add(path_of(environment))


@contextlib.contextmanager
def noted(log: Path) -> Iterator[None]:
    """Write into the journal what runs in the meantime, however it ends.

    :param log: the job's log file, e.g. ``logs/dev/worker-worker_1.apply.log``.
    """
    start, failed = time.time(), True
    try:
        yield
        failed = False
    finally:
        if (journal := log.parent / _NAME) in this_run.current().journals:
            _append(journal, Job(log.stem, start, time.time(), failed))


def _append(journal: Path, job: Job) -> None:
    # One write, so that the lines of jobs side by side do not mix. No job fails for its journal.
    with contextlib.suppress(OSError):
        handle = os.open(journal, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, json.dumps(asdict(job)).encode() + b"\n")
        finally:
            os.close(handle)


def jobs(environment: str) -> list[Job]:
    """The ended jobs of the last run, by their start; a line that a kill cut off is left out."""
    try:
        lines = path_of(environment).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            found.append(Job(**json.loads(line)))
    return sorted(found, key=lambda job: (job.start, job.name))


def lanes(run: list[Job]) -> list[list[Job]]:
    """Arrange jobs in as few lines as there were at once; none covers another.

    :param run: sorted by their start.
    """
    found: list[list[Job]] = []
    for job in run:
        for lane in found:
            if lane[-1].end <= job.start:
                lane.append(job)
                break
        else:
            found.append([job])
    return found
