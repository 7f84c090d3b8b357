"""All that is used of Snakemake and is no documented interface of it.

Another Snakemake may drop or rename any of it, so each attribute is looked for and a missing one is
told by its name; ``tests/workflow/test_snakemake.py`` asks the real one for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from logging.handlers import QueueListener
from pathlib import Path
from typing import Any

from snakemake.exceptions import SpawnedJobError
from snakemake.io import ancient
from snakemake.settings.enums import Quietness

from talosmake.base.errors import ToolError

__all__ = ("SpawnedJobError", "ancient")


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
