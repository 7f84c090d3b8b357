"""What has to be there before a node is rendered or applied, a cluster bootstrapped, and so on.

Behind a job that runs, Snakemake does not look at jobs that only ``ancient`` files lead to, not
even where their own inputs are newer. So what has to be done has its prerequisites as they are;
what is done already has them as ``ancient``: they are no reason to do it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from talosmake.inventory.model import Environment, Node, Role
from talosmake.render import cilium as cilium_layer
from talosmake.render import cilium_network, sources
from talosmake.report import status
from talosmake.rollout import kubeconfig
from talosmake.secrets import bundles, create
from talosmake.workflow import targets
from talosmake.workflow.snakemake import ancient


def bundle(environment: Environment) -> Path:
    """The bundle, or what tells that a throw-away one was made.

    :raises SecretsError: where there is none: the way to one instead of 'missing input'.
    """
    if environment.cluster.throwaway:
        return create.throwaway_marker(environment)
    if not environment.bundle.exists():
        raise bundles.missing_bundle(environment)
    return environment.bundle


def bundle_is_there(environment: Environment) -> Any:
    """The bundle where it only has to be there: its content is a parameter.

    :raises SecretsError: as :func:`bundle`.
    """
    file = bundle(environment)
    return file if environment.cluster.throwaway else ancient(file)


def patches(_: Environment, node: Node) -> list[Any]:
    """As inputs, so that Snakemake names what is missing; their content is a parameter."""
    return [ancient(patch) for patch in node.patches]


def cilium_files(environment: Environment) -> list[Any]:
    """What Cilium's layer is made of, likewise."""
    return [ancient(file) for file in cilium_layer.files_of(environment)]


def cilium_sources(environment: Environment) -> str:
    """Changes with all that Cilium's layer is made of."""
    digest = sources.of_cilium(environment, cilium_layer.files_of(environment))
    # The rest of the control planes' patches makes no other layer.
    return f"{digest} {cilium_network.planned_as_text(environment)}"


def cilium(environment: Environment, node: Node) -> list[Path]:
    """The layer that carries Cilium, for control planes where the workflow installs it."""
    carries = environment.cilium and node.role is Role.CONTROLPLANE
    return [environment.paths.cilium] if carries else []


def vm(environment: Environment, node: Node) -> list[Path]:
    """The machine that a config is applied to, where it is a virtual one."""
    return [environment.paths.vm(node)] if environment.vms else []


def of_control_plane(environment: Environment, node: Node) -> list[Any]:
    """What has to be there before a control plane is applied."""
    return prerequisites_of(environment, node, targets.before_apply(environment))


def of_worker(environment: Environment, node: Node) -> list[Any]:
    """What has to be there before a worker is applied.

    A worker has its certificate from a control plane; where the endpoint is a VIP it may find one
    only once etcd runs, so bootstrap must never wait behind workers.
    """
    files = [*targets.before_apply(environment), *targets.control_planes(environment)]
    return prerequisites_of(environment, node, files)


def prerequisites_of(environment: Environment, node: Node, files: Sequence[Path]) -> list[Any]:
    """The files as inputs of a job that applies a node; as they are where it has to be applied."""
    return _inputs(files, due=status.is_stale(environment, node))


def of_bootstrap(environment: Environment) -> list[Any]:
    """What has to be there before the cluster is bootstrapped."""
    files = [environment.paths.talosconfig, *targets.control_planes(environment)]
    return _inputs(files, due=not environment.paths.bootstrapped.exists())


def of_kubeconfig(environment: Environment) -> list[Any]:
    """What has to be there before the kubeconfig is fetched."""
    paths = environment.paths
    files = [paths.talosconfig, *targets.control_planes(environment), paths.bootstrapped]
    return _inputs(files, due=bool(kubeconfig.reason(environment)))


def _inputs(files: Sequence[Path], *, due: bool) -> list[Any]:
    return list(files) if due else [ancient(file) for file in files]


def one_at_a_time(environment: Environment, node: Node) -> int:
    """1 where a control plane is applied alone: once etcd runs; else 0, as a Snakemake resource.

    Before, all are at once, and beside them those that join it.
    """
    paths = environment.paths
    return int(paths.bootstrapped.exists() and paths.applied(node).exists())
