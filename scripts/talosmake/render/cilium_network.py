"""Cilium's values and the cluster's subnets: what follows from them, and what contradicts them.

The chart has IPv4 on and IPv6 off, whatever subnets the cluster has (Cilium's Helm reference:
``ipv4.enabled``, ``ipv6.enabled``).
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talosmake.base.errors import PatchError
from talosmake.base.yamls import lookup
from talosmake.inventory.model import Environment, Node
from talosmake.patches import layout
from talosmake.patches.inject import inject
from talosmake.patches.patch import parse

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_FAMILIES = (4, 6)
_ON_BY_DEFAULT = {4: True, 6: False}
# What ``ipam.mode: cluster-pool``, the chart's default, gives pods where no value says so.
_CLUSTER_POOL = "cluster-pool"
_DEFAULT_POOLS = {4: ["10.0.0.0/8"], 6: ["fd00::/104"]}


@dataclass(frozen=True)
class Subnets:
    """The subnets of pods and services, as they are written."""

    pods: tuple[str, ...] = ("10.244.0.0/16",)
    services: tuple[str, ...] = ("10.96.0.0/12",)

    def __str__(self) -> str:
        return f"podSubnets {', '.join(self.pods)}; serviceSubnets {', '.join(self.services)}"


def of_documents(documents: Iterable[Mapping[str, Any]], before: Subnets = Subnets()) -> Subnets:
    """The subnets in the documents of a patch or a config.

    :param before: what holds where they say nothing: a later list replaces the one before (Talos
        docs: Configuration Patches).
    """
    found = before
    for document in documents:
        pods = _texts(document, layout.POD_SUBNETS) or found.pods
        found = Subnets(pods, _texts(document, layout.SERVICE_SUBNETS) or found.services)
    return found


def _texts(document: Mapping[str, Any], setting: layout.Setting) -> tuple[str, ...]:
    value = layout.value([document], setting)
    return tuple(map(str, value)) if isinstance(value, list) else ()


def planned(environment: Environment) -> Subnets:
    """The cluster's subnets by the patches of its control planes, whose layer Cilium's is.

    Encrypted patches are left out, because this is asked before anything is decrypted; lint holds
    Cilium's values against the complete config.

    :raises PatchError: when the control planes do not agree.
    """
    found = {node.name: _of_node(node) for node in environment.control_planes}
    one, *others = found.items()
    for name, subnets in others:
        if subnets != one[1]:
            raise PatchError(
                f"{environment.name}: the control planes have different subnets:\n"
                f"  {one[0]}: {one[1]}\n  {name}: {subnets}",
                hint=f"Set {layout.POD_SUBNETS.label(environment.cluster.contract)} and "
                f"serviceSubnets in {environment.directory / 'common.yaml'}, for all nodes alike.",
            )
    return one[1]


def planned_as_text(environment: Environment) -> str:
    """What Cilium's layer takes from the patches, for the workflow to compare.

    Never an error: what is wrong is said where the layer is made, or the patch is rendered.
    """
    try:
        return str(planned(environment))
    except PatchError as error:
        return error.message


def _of_node(node: Node) -> Subnets:
    found = Subnets()
    for path in node.patches:
        text = _plain_text(path)
        # Most patches say nothing of it, and need no parsing.
        if "Subnets" in text:
            with contextlib.suppress(PatchError):
                patch = parse(inject(text, node.facts, path), path)
                found = of_documents(patch.documents, found)
    return found


def _plain_text(path: Path) -> str:
    if path.name.endswith(".sops.yaml"):
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def families(subnets: Iterable[str]) -> frozenset[int]:
    """The IP versions of subnets or addresses; what is none is said by lint."""
    return frozenset(network.version for text in subnets if (network := _network(text)))


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def values_for(subnets: Subnets) -> dict[str, Any]:
    """The values that follow from the cluster's subnets, as far as the chart's are others."""
    wanted = families(subnets.pods)
    return {
        f"ipv{family}": {"enabled": family in wanted}
        for family in _FAMILIES
        if wanted and (family in wanted) != _ON_BY_DEFAULT[family]
    }


def enabled(values: Mapping[str, Any]) -> frozenset[int]:
    """The IP versions that Cilium's values turn on."""
    return frozenset(family for family in _FAMILIES if _is_on(values, family))


def _is_on(values: Mapping[str, Any], family: int) -> bool:
    said = lookup(values, f"ipv{family}")
    if not isinstance(said, Mapping) or "enabled" not in said:
        return _ON_BY_DEFAULT[family]
    return str(said["enabled"]).lower() == "true"


def contradictions(values: Mapping[str, Any], subnets: Subnets) -> Iterator[str]:
    """Each value with which pods do not get the addresses that the cluster says."""
    wanted, on = families(subnets.pods), enabled(values)
    for family in _FAMILIES if wanted else ():
        if family in wanted - on:
            yield (
                f"ipv{family}.enabled: must be true, because podSubnets has an IPv{family} subnet "
                f"({', '.join(subnets.pods)})"
            )
        elif family in on - wanted and _mode(values) == "kubernetes":
            yield (
                f"ipv{family}.enabled: must be false, because podSubnets has no IPv{family} subnet "
                f"({', '.join(subnets.pods)}), and with ipam.mode kubernetes Cilium waits for one"
            )


def _mode(values: Mapping[str, Any]) -> str:
    return str(lookup(values, "ipam", "mode") or _CLUSTER_POOL)


def pools_over_node(values: Mapping[str, Any], address: str) -> Iterator[str]:
    """Pools of Cilium's own for pods that hold a node's address (Cilium docs: Cluster Scope)."""
    for family in sorted(enabled(values)) if _mode(values) == _CLUSTER_POOL else ():
        key = f"clusterPoolIPv{family}PodCIDRList"
        said = lookup(values, "ipam", "operator", key)
        pools = [said] if isinstance(said, str) else said
        for pool in pools if isinstance(pools, list) else _DEFAULT_POOLS[family]:
            if _holds(_network(str(pool)), _network(address)):
                yield (
                    f"ipam.operator.{key}: {pool} holds {address}, a node's address; with "
                    f"ipam.mode {_CLUSTER_POOL} pods have addresses of it, and not of podSubnets"
                )


def _holds(pool: _Network | None, node: _Network | None) -> bool:
    return bool(pool and node and pool.version == node.version and pool.overlaps(node))


def wrong_port(values: Mapping[str, Any], kube_prism: Any) -> Iterator[str]:
    """A ``k8sServicePort`` of the node itself that is not KubePrism's.

    :param kube_prism: KubePrism's settings in a complete config, if it has any.
    """
    host, port = (str(lookup(values, key)) for key in ("k8sServiceHost", "k8sServicePort"))
    listens = lookup(kube_prism, "port")
    if host in ("localhost", "127.0.0.1", "::1") and listens and port != str(listens):
        yield f"k8sServicePort: is {port}, but KubePrism listens on port {listens} of {host}"


def useless_pool(document: Any, values: Mapping[str, Any]) -> str:
    """Why a ``CiliumLoadBalancerIPPool`` gives no Service an address, "" if it does."""
    if lookup(document, "kind") != "CiliumLoadBalancerIPPool":
        return ""
    blocks = lookup(document, "spec", "blocks")
    starts = [
        str(lookup(block, "cidr") or lookup(block, "start"))
        for block in (blocks if isinstance(blocks, list) else [])
    ]
    has, on = families(starts), enabled(values)
    if not has or has & on:
        return ""
    only = " and ".join(f"IPv{family}" for family in sorted(has))
    off = " and ".join(f"ipv{family}.enabled" for family in sorted(has))
    return f"{lookup(document, 'metadata', 'name')}: has {only} addresses only, and {off} is false"
