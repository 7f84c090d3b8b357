"""Discovering environments: which there are, which are meant, and one of them, read and checked.

Reads files and nothing else; it runs again in every process that Snakemake starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from talosmake.base.errors import ConfigError, InventoryError
from talosmake.base.merge import merged
from talosmake.inventory import (
    canonical,
    cilium_facts,
    envfile,
    image_facts,
    machine_facts,
    places,
    unread,
)
from talosmake.inventory.cluster import cluster_facts, read_cluster, read_options
from talosmake.inventory.consistency import check_together
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.facts import refuse_node_only, refuse_references
from talosmake.inventory.image_facts import Choice
from talosmake.inventory.machines import Vms
from talosmake.inventory.model import Cluster, Environment
from talosmake.inventory.names import ALL, ENVIRONMENTS, check_name, environment_names
from talosmake.inventory.nodes import read_nodes


def selected(env: str | None) -> list[str]:
    """The environments that ``--config env=`` names; ``all`` names each.

    :raises ConfigError: when it names none, or one that is not there.
    """
    names = environment_names()
    known = ", ".join(names) or f"none; make a directory below {ENVIRONMENTS}"
    if not env:
        raise ConfigError(
            f"no environment given; there are: {known}",
            hint="Name one:  snakemake --config env=NAME -j4\n"
            "or set 'env:' in config/config.yaml for good.",
        )
    if env == ALL:
        return names
    if env not in names:
        near = get_close_matches(env, names, n=1)
        raise ConfigError(
            f"there is no environment {env!r}" + (f"; did you mean {near[0]}?" if near else ""),
            hint=f"There are: {known}",
        )
    return [env]


def load(
    name: str, defaults: Mapping[str, str] | None = None, goal: str | None = None
) -> Environment:
    """Read one environment and check it.

    :param defaults: facts that cluster.env and node.env override.
    :param goal: the caller's goal, which overrides the environment's.
    :raises InventoryError: for the first mistake in its files.
    """
    directory = ENVIRONMENTS / name
    check_name(name, directory)
    if name == ALL:
        raise InventoryError(f"{directory}: 'all' means every environment; give it another name")
    own = cluster_facts(directory / "cluster.env")
    env_file = directory / "cluster.env"
    facts = canonical.facts(merged(image_facts.over(defaults or {}, own, env_file), {"ENV": name}))
    refuse_references(own, facts, env_file)
    refuse_node_only(facts, env_file)
    chosen = image_facts.read(Facts(facts, (env_file,)), directory)
    facts = image_facts.with_id(facts, chosen)
    cluster = read_cluster(facts, env_file, chosen.installer)
    unread.check(directory, [*unread.named_by(facts, directory)])
    nodes = tuple(read_nodes(directory, facts, chosen))
    bundle, shared_with = _bundle(name, cluster)
    environment = Environment(
        name,
        directory,
        cluster,
        read_options(facts, env_file, goal),
        nodes,
        bundle,
        shared_with,
        cilium=cilium_facts.read(facts, env_file),
        facts=facts,
        chosen=chosen,
    )
    check_together(environment)
    return replace(environment, vms=_vms(environment, facts, chosen))


def _vms(environment: Environment, facts: Mapping[str, str], chosen: Choice) -> Vms | None:
    """The virtual machines that the nodes are; without ``LIBVIRT_URI`` they are bare metal."""
    if not facts.get(machine_facts.URI):
        return None
    cluster = environment.cluster
    if cluster.simulated:
        raise InventoryError(
            f"{environment.env_file}: SIMULATED=true does not go with {machine_facts.URI}",
            hint="Nodes are simulated or virtual machines; remove one of the two lines.",
        )
    return machine_facts.read(
        environment.name,
        cluster.name,
        cluster.endpoint,
        facts,
        environment.env_file,
        environment.nodes,
        chosen,
    )


def _bundle(name: str, cluster: Cluster) -> tuple[Path, tuple[str, ...]]:
    """The bundle that serves an environment, and which others it serves."""
    own = places.own_bundle(name)
    if cluster.throwaway or own.exists() or not places.SHARED_BUNDLE.exists():
        return own, ()
    others = (other for other in environment_names() if other != name)
    return places.SHARED_BUNDLE, tuple(o for o in others if not _has_own_bundle(o))


def _has_own_bundle(name: str) -> bool:
    facts = envfile.read(ENVIRONMENTS / name / "cluster.env")
    throwaway = "true" in (facts.get("SIMULATED"), facts.get("LAB"))
    return throwaway or places.own_bundle(name).exists()
