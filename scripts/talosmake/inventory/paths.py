"""Where the workflow keeps what it makes for one environment (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from talosmake.inventory.access import Access

if TYPE_CHECKING:
    from talosmake.inventory.model import Node


@dataclass(frozen=True)
class Paths:
    """What the workflow makes for one environment."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def talosconfig(self) -> Path:
        return self.root / "talosconfig"

    @property
    def client_certificate(self) -> Path:
        """The talosconfig as it was generated, before its endpoints are set."""
        return self.state / "talosconfig"

    def talosconfig_for(self, access: Access) -> Path:
        """The talosconfig that nodes are asked with."""
        if access is Access.ADMIN:
            return self.talosconfig
        return self.state / f"talosconfig-{access}"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def kubeconfig_fetched(self) -> Path:
        """The marker that a control plane gave the kubeconfig, and what its certificate says.

        It is the output of its job in the kubeconfig's place: Snakemake removes a job's output
        before it runs, and the old kubeconfig stays until there is a new one.
        """
        return self.state / "kubeconfig"

    @property
    def apply_script(self) -> Path:
        return self.root / "apply.sh"

    @property
    def bootstrapped(self) -> Path:
        return self.state / "bootstrapped"

    @property
    def linted(self) -> Path:
        """The marker that what lint finds was said."""
        return self.state / "linted"

    @property
    def cilium(self) -> Path:
        """The generated layer of control planes that carries Cilium."""
        return self.state / "cilium.yaml"

    def config(self, node: Node) -> Path:
        return self.root / f"{node.config_name}.yaml"

    @property
    def network(self) -> Path:
        return self.state / "network"

    @property
    def storage(self) -> Path:
        return self.state / "storage"

    def vm(self, node: Node) -> Path:
        return self.state / f"{node.config_name}.vm"

    def validated(self, node: Node) -> Path:
        return self.state / f"{node.config_name}.validated"

    def linted_node(self, node: Node) -> Path:
        """What lint found for a node. Snakemake does not know of it: a rule reaches no machine."""
        return self.state / f"{node.config_name}.lint"

    @property
    def explanations(self) -> Path:
        return self.root / "explain"

    @property
    def applied_configs(self) -> Path:
        return self.root / "applied"

    def explained(self, node: Node) -> Path:
        return self.explanations / f"{node.config_name}.yaml"

    @property
    def dag(self) -> Path:
        """The picture of all steps and their states."""
        return self.root / "dag.svg"

    @property
    def report(self) -> Path:
        """The page about the environment."""
        return self.root / "report.html"

    def applied_config(self, node: Node) -> Path:
        """The config that was last applied, secrets redacted."""
        return self.applied_configs / f"{node.config_name}.yaml"

    def applied(self, node: Node) -> Path:
        return self.state / f"{node.config_name}.applied"

    def talos(self, node: Node) -> Path:
        """Which Talos a node said that it runs, when it was asked last."""
        return self.state / f"{node.config_name}.talos"

    def waits(self, node: Node) -> Path:
        """Which of a node's settings wait for its next reboot."""
        return self.state / f"{node.config_name}.waits"

    def reboot(self, node: Node) -> Path:
        """In which boot a node was told to reboot; gone when it has, and is healthy."""
        return self.state / f"{node.config_name}.reboot"

    def machine_of(self, node: Node) -> Path:
        """Which machine has a config of a node. Snakemake does not know of it, and so keeps it.

        The marker is gone while a config is applied, and when that fails.
        """
        return self.state / f"{node.config_name}.machine"
