"""All that is used of Snakemake and is no documented interface of it.

Another Snakemake may drop or rename any of it, so each attribute is looked for and a missing one is
told by its name; ``tests/workflow/test_snakemake.py`` asks the real one for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from logging import LogRecord
from logging.handlers import QueueListener
from pathlib import Path
from typing import Any

from snakemake.exceptions import SpawnedJobError
from snakemake.io import ancient
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from talosmake.base.errors import ToolError

__all__ = ("LogEvent", "SpawnedJobError", "ancient")


def _part(thing: Any, *names: str) -> Any:
    """An attribute of an attribute of Snakemake's.

    :raises ToolError: when this Snakemake has none of the name.
    """
    for at, name in enumerate(names):
        if not hasattr(thing, name):
            missing = ".".join(("workflow", *names[: at + 1]))
            raise ToolError(
                f"Snakemake {version('snakemake')} has no {missing}, which talosmake needs",
                hint="Install the Snakemake that it was made for:  make setup",
            )
        thing = getattr(thing, name)
    return thing


# What is looked at while the workflow is parsed; all else when a run starts.
_PARSED = ("is_main_process", "main_snakefile", "dryrun", "global_resources")


def check(workflow: Any) -> None:
    """Look for all that is asked for while the workflow is parsed.

    :raises ToolError: when this Snakemake has no such thing.
    """
    for name in _PARSED:
        _part(workflow, name)
    _part(workflow, "output_settings", "quiet")
    _part(workflow, "logger_manager", "queue_listener")


def is_main_process(workflow: Any) -> bool:
    """Whether this is the process that a person started, and none that runs one of its jobs."""
    return bool(_part(workflow, "is_main_process"))


def main_snakefile(workflow: Any) -> Path:
    """The Snakefile that Snakemake was called with."""
    return Path(_part(workflow, "main_snakefile"))


def shows_nothing(workflow: Any) -> bool:
    """Whether a run was asked to show nothing: ``--quiet all``."""
    quiet = _part(workflow, "output_settings", "quiet")
    return Quietness.ALL in (quiet or ()) and not _part(workflow, "dryrun")


def queue_listener(workflow: Any) -> QueueListener | None:
    """What shows Snakemake's messages, from another thread; None where there is none."""
    listener: QueueListener | None = _part(workflow, "logger_manager", "queue_listener")
    return listener


def limit(workflow: Any, limits: Mapping[str, int]) -> None:
    """Limit what runs at once; what ``--resources`` says on the command line counts."""
    resources = _part(workflow, "global_resources")
    for name, most in limits.items():
        if name not in resources:
            resources[name] = most


def due_rules(workflow: Any) -> frozenset[str]:
    """The rules that this run has jobs of; known when it starts."""
    jobs = _part(workflow, "persistence", "dag", "needrun_jobs")()
    return frozenset(job.rule.name for job in jobs)


def start_at_once(workflow: Any) -> None:
    """Start jobs as soon as they are ready, where they run on this machine.

    Snakemake's limit on their rate is made for remote executors: here its timers would hold up the
    end of each run by a second and have all that is ready looked through again and again.
    """
    if _part(workflow, "local_exec"):
        _part(workflow, "scheduler", "job_rate_limiter")
        workflow.scheduler.job_rate_limiter = None


# --- what it tells the logger plugin --------------------------------------------------------------

# What it says before and between jobs, of no use to somebody who sees the steps.
NOISE = (
    *("Assuming unrestricted", "Building DAG", "Using shell", "Select jobs", "Execute "),
    "Shutting down, this might take some time",
)
INTERRUPTED = "Terminating processes on user request"
# What it says at the end of a run in which something failed; the errors themselves are shown.
FAILED = ("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not")


@dataclass(frozen=True)
class Event:
    """Something that happened in a run, beside what is said.

    :ivar jobs: Snakemake's numbers of the jobs that it is about.
    :ivar rule: the job's, where it is told what a job is.
    :ivar wildcards: of such a job.
    :ivar done: how many jobs are done, where that is counted.
    :ivar total: how many there are, where that is counted.
    :ivar logs: the log files of a job that failed.
    :ivar elsewhere: what an executor tells of such a job on another machine.
    """

    kind: LogEvent
    jobs: tuple[int, ...] = ()
    rule: str = ""
    wildcards: Mapping[str, str] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    logs: tuple[str, ...] = ()
    elsewhere: Mapping[str, object] = field(default_factory=dict)


def event_of(record: LogRecord) -> Event | None:
    """What a record of Snakemake's logger tells of a run; None for a message alone."""
    kind, it = getattr(record, "event", None), record.__dict__
    if kind == LogEvent.JOB_INFO:
        wildcards = dict(it["wildcards"] or {})
        return Event(kind, jobs=(it["jobid"],), rule=it["rule_name"], wildcards=wildcards)
    if kind == LogEvent.JOB_STARTED:
        return Event(kind, jobs=tuple(it["jobs"]))
    if kind == LogEvent.JOB_FINISHED:
        return Event(kind, jobs=(it["job_id"],))
    if kind == LogEvent.JOB_ERROR:
        logs = tuple(map(str, it["log"] or ()))
        return Event(kind, jobs=(it["jobid"],), logs=logs, elsewhere=it["aux"])
    if kind == LogEvent.PROGRESS:
        return Event(kind, done=it["done"], total=it["total"])
    if kind == LogEvent.RUN_INFO:
        return Event(kind, total=int((it["stats"] or {}).get("total", 0)))
    return None if kind is None else Event(kind)


def is_noise(text: str) -> bool:
    """Whether a message says nothing to somebody who sees the steps."""
    return text.startswith(NOISE) or text == "None"


def is_interruption(text: str) -> bool:
    """Whether a message says that a person ended the run."""
    return INTERRUPTED in text


def is_said_already(text: str) -> bool:
    """Whether an error says no more than that there was one."""
    return text.startswith(FAILED)
