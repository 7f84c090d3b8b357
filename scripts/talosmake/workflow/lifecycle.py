"""What a run does beside its jobs: reading environments, locks at the start, a summary."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from talosmake.artifact import pack, unpack
from talosmake.base import files, progress, streams, talosctls, wait
from talosmake.checks import lint_rules
from talosmake.inventory import elsewhere, locks, settings
from talosmake.inventory.elsewhere import Clash
from talosmake.inventory.model import Environment
from talosmake.inventory.settings import Config
from talosmake.report import journal, status
from talosmake.workflow import effects, jobs, leftovers, snakemake, targets
from talosmake.workflow.effects import Effect

_SNAKEMAKE = Path(".snakemake")
# Rules with which most runs begin, and which call talosctl.
_FIRST_CALLS = frozenset(("render_config", "validate_config", "talosconfig"))

Environments = Mapping[str, Environment]


def prepare(workflow: Any) -> None:
    """Set this process up, before anything is read or said.

    :param workflow: Snakemake's.
    :raises ToolError: when this Snakemake is another than the workflow was made for.
    """
    snakemake.check(workflow)
    wait.stop_waiting_on_interrupt()
    # The logger plugin does so as well, for what is shown before this; it can be switched off.
    streams.outlive_readers()
    if snakemake.shows_nothing(workflow):
        progress.silence()


def environments(config: Config, argv: Sequence[str]) -> dict[str, Environment]:
    """The environments to work on, checked as far as reading goes; with an artifact, with that.

    :param argv: how Snakemake was called.
    :raises TalosmakeError: for what is wrong with one of them, or with the artifact.
    """
    found = {
        name: unpack.attached(settings.environment(config, name), config.artifact, config.strict)
        for name in targets.environments(config, argv)
    }
    for environment in found.values():
        lint_rules.switched_off(environment)
        pack.recipients(environment)
        if environment.artifact:
            # Before anything that it says is told, or done.
            unpack.check_seal(environment, environment.artifact)
    return found


def announce(environments: Environments, clashes: Mapping[str, Sequence[Clash]]) -> None:
    """Say what a person should know before anything is done."""
    for environment in environments.values():
        leftovers.warn_of_leftovers(environment)
        elsewhere.warn_of(environment, clashes[environment.name])
        unpack.announce(environment)


def join(environments: Environments) -> None:
    """Have a process that runs a job of another's run write to the journal of that run."""
    for name in environments:
        journal.join(name)


def begin(environments: Environments, due: Collection[str]) -> frozenset[str]:
    """Take what a run needs for itself before its first job; which of its rules are work.

    :param due: the rules that the run has jobs of.
    :raises BusyError: when another run is at work on an environment.
    :raises InventoryError: when machines would be touched that another environment has, too.
    :raises ToolError: when the talosctl of an environment's Talos is not there.
    """
    wait.end_as_on_interrupt()
    if _FIRST_CALLS & set(due):
        for environment in environments.values():
            talosctls.require(environment.cluster.talosctl)
    if _SNAKEMAKE.is_dir():
        files.ignore_all(_SNAKEMAKE)
    work = effects.work(due)
    if effects.with_effect(due, Effect.TOUCHES):
        for environment in environments.values():
            elsewhere.check(environment)
    if work:
        for environment in environments.values():
            _take(environment, due)
    return work


def _take(environment: Environment, due: Collection[str]) -> None:
    jobs.lock_environment(environment.name, environment.paths.state)
    leftovers.remove_temporary_files(environment)
    locks.begin_roll_out(environment)
    # What a report brings up to date is not the run that it tells of, where there is one.
    if not ("report" in due and journal.path_of(environment.name).exists()):
        journal.begin(environment.name)


def sum_up(environments: Environments, work: Collection[str]) -> None:
    """Say what a run made and how to go on.

    :param work: from :func:`begin`.
    """
    for environment in environments.values():
        deployed = effects.has_deployed(work, environment)
        print(status.summary(environment, deployed=deployed))
