"""Lint: Cilium's values and the complete config of a control plane (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from talosmake.checks.finding import Finding, NodeView
from talosmake.inventory.model import Role
from talosmake.patches import layout
from talosmake.render import cilium_network


def cilium_values(view: NodeView) -> Iterator[Finding]:
    """Cilium's values do not fit the subnets, the nodes' addresses or KubePrism's port.

    What plain patches say is compared when Cilium's layer is made, and an error then; this is about
    the config as it came out, encrypted patches included.
    """
    environment = view.environment
    if environment.cilium is None or view.node.role is not Role.CONTROLPLANE:
        return
    values = view.read_cilium()
    documents = view.config.values()
    subnets = cilium_network.of_documents(documents)
    kube_prism = layout.value(documents, layout.KUBE_PRISM)
    wrong = [
        *cilium_network.contradictions(values, subnets),
        *cilium_network.pools_over_node(values, view.node.address),
        *cilium_network.wrong_port(values, kube_prism),
    ]
    for what in wrong:
        yield Finding(
            str(environment.directory / "cilium.yaml"),
            what,
            "Set the value there; or change what it has to fit in the patches.",
        )
