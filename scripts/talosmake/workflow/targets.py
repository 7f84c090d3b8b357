"""What a run is about, and which files of an environment each target is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from talosmake.artifact import unpack
from talosmake.inventory import settings
from talosmake.inventory.model import Environment, Goal
from talosmake.inventory.settings import Config
from talosmake.machines import lab, simulator
from talosmake.report import explain, status

# These look at the machine, and at environments only where one is named.
_OF_THE_MACHINE = frozenset(("doctor", "schemas"))


def environments(config: Config, argv: Sequence[str]) -> list[str]:
    """The names of the environments to work on.

    :param argv: how Snakemake was called.
    :raises ConfigError: where none is named and a target needs one.
    """
    if config.env is None and not config.promotes and not _OF_THE_MACHINE.isdisjoint(argv):
        return []
    return settings.selected(config)


Files = Callable[[Environment], Iterable[Path]]


def of_each(environments: Iterable[Environment], files: Files) -> list[str]:
    """Of each environment, the files that a function of it names.

    :raises TalosmakeError: what the function raises.
    """
    return [str(file) for environment in environments for file in files(environment)]


def from_git(target: str, files: Files) -> Files:
    """The same files, for a target that looks at patches and at what is made of them.

    :raises ArtifactError: (the function that is returned) when an artifact is deployed.
    """

    def checked(environment: Environment) -> Iterable[Path]:
        if environment.artifact:
            raise unpack.only_for_deploy(target)
        return files(environment)

    return checked


# --- as far as a goal ----------------------------------------------------------------------------


def goal(environment: Environment) -> list[Path]:
    """What a run without a target makes."""
    return {
        Goal.RENDERED: rendered,
        Goal.VALIDATED: validated,
        Goal.APPLIED: applied,
        Goal.BOOTSTRAPPED: up,
    }[environment.options.goal](environment)


def rendered(environment: Environment) -> list[Path]:
    """All configs, the talosconfig and apply.sh."""
    paths = environment.paths
    return [*configs(environment), paths.talosconfig, paths.apply_script]


def validated(environment: Environment) -> list[Path]:
    """What is rendered, and that it may be used; an artifact was linted when it was made."""
    linted = [] if environment.artifact else [environment.paths.linted]
    return [*rendered(environment), *markers(environment), *linted]


def machines(environment: Environment) -> list[Path]:
    """The virtual machines, where the workflow makes them."""
    if environment.vms is None:
        return []
    return [environment.paths.vm(node) for node in environment.nodes]


def applied(environment: Environment) -> list[Path]:
    """All nodes have their configs."""
    markers = [environment.paths.applied(node) for node in environment.nodes]
    return [*validated(environment), *powered_on(environment), *markers]


def bootstrapped(environment: Environment) -> list[Path]:
    """The cluster runs, with what that rests on, which is ``ancient`` to bootstrap itself."""
    return [*before_apply(environment), *control_planes(environment), *_running(environment)]


def up(environment: Environment) -> list[Path]:
    """All nodes have their configs, and the cluster runs."""
    return [*applied(environment), *_running(environment)]


def deployed(environment: Environment) -> list[Path]:
    """The same as :func:`up`, from an artifact.

    :raises ArtifactError: where none is named.
    """
    if not environment.artifact:
        raise unpack.not_deploying()
    return up(environment)


def _running(environment: Environment) -> list[Path]:
    return [environment.paths.bootstrapped, environment.paths.kubeconfig_fetched]


# --- what goals are made of ----------------------------------------------------------------------


def configs(environment: Environment) -> list[Path]:
    """The machine config of each node."""
    return [environment.paths.config(node) for node in environment.nodes]


def markers(environment: Environment) -> list[Path]:
    """That each node's config is valid."""
    return [environment.paths.validated(node) for node in environment.nodes]


def control_planes(environment: Environment) -> list[Path]:
    """That the control planes have their configs."""
    return [environment.paths.applied(node) for node in environment.control_planes]


def before_apply(environment: Environment) -> list[Path]:
    """Nothing is applied before all configs were looked at together; an artifact's were before.

    Two nodes with one name are an error, whatever lint is told; with strict, all it finds is one.
    """
    paths = environment.paths
    linted = [] if environment.artifact else [paths.linted]
    return [paths.talosconfig, *powered_on(environment), *linted]


def powered_on(environment: Environment) -> list[Path]:
    """What must run before nodes can be reached: nothing, where they are real machines."""
    if environment.cluster.simulated:
        return [simulator.ready_file(environment)]
    return [lab.ready_file(environment)] if environment.cluster.lab else []


# --- looking -------------------------------------------------------------------------------------


def nothing(_: Environment) -> list[Path]:
    """For a target that looks at files in Git alone."""
    return []


def explained(environment: Environment, *, name: str | None) -> list[Path]:
    """The configs of the nodes that are to be explained.

    :param name: of the one node; None for all.
    :raises ConfigError: where there is none of that name.
    """
    return [environment.paths.config(node) for node in explain.chosen(environment, name)]


def promoted(environment: Environment, *, config: Config) -> list[Path]:
    """The configs of one of the two environments that are compared.

    :raises ConfigError: where they are not named.
    """
    if not config.promotes:
        raise settings.nothing_to_promote()
    return configs(environment)


def reachable(environment: Environment) -> list[Path]:
    """What must be there before nodes can be asked; those who look bring their certificate."""
    return [simulator.ready_file(environment)] if environment.cluster.simulated else []


def administered(environment: Environment) -> list[Path]:
    """What must be there before nodes can be changed."""
    return [environment.paths.talosconfig, *reachable(environment)]


def compared(environment: Environment, *, against: str) -> list[Path]:
    """What must be there before configs can be compared with what nodes run.

    :param against: as :attr:`Config.against`.
    """
    return [*markers(environment), *(reachable(environment) if against == "live" else [])]


def reported(environment: Environment, *, strict: bool, live: bool) -> list[Path]:
    """All that is validated; what failed is told of as it is. The page looks for lint itself.

    :param strict: whether what lint finds would end the run.
    :param live: whether nodes are asked.
    """
    linted = [environment.paths.linted] if strict else []
    files = [file for file in _sound(environment) if file not in linted]
    return [*files, *(reachable(environment) if live else [])]


def _sound(environment: Environment) -> list[Path]:
    failed = status.failed_nodes(environment)
    if not failed:
        return validated(environment)
    paths = environment.paths
    sound = [paths.validated(node) for node in environment.nodes if node not in failed]
    return [paths.talosconfig, paths.apply_script, *sound]
