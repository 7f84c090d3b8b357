"""What an environment and a node are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from talosmake.base import talosctls
from talosmake.base.tools import numbers
from talosmake.inventory import endpoints
from talosmake.inventory.access import Access
from talosmake.inventory.artifact import Artifact
from talosmake.inventory.factory import FIRST_WITHOUT_OWN_INSTALLER, Images
from talosmake.inventory.image_facts import Choice
from talosmake.inventory.machines import Vms
from talosmake.inventory.paths import Paths
from talosmake.inventory.schematic import PLAIN


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """A key to sort by that has worker_9 before worker_10, and line 9 before line 10."""
    parts = re.split(r"(\d+)", text)
    # The text itself tells cp_1 from cp_01, so that the order is the same everywhere.
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts], text


class Role(StrEnum):
    """What a node is in its cluster: Talos's ``machine.type``."""

    CONTROLPLANE = "controlplane"
    WORKER = "worker"

    @property
    def directory(self) -> str:
        """The directory below the environment that holds the nodes of this role."""
        return {Role.CONTROLPLANE: "control_planes", Role.WORKER: "workers"}[self]


class Goal(StrEnum):
    """How far ``snakemake`` without a named target brings an environment."""

    RENDERED = "rendered"
    VALIDATED = "validated"
    APPLIED = "applied"
    BOOTSTRAPPED = "bootstrapped"


@dataclass(frozen=True)
class Options:
    """How an environment is worked on; each from the fact of the same name in capitals.

    :ivar goal: how far ``snakemake`` without a target goes.
    :ivar apply_mode: ``talosctl apply-config --mode`` for nodes that run already.
    :ivar call_timeout: the most that one talosctl call may take, in seconds.
    :ivar node_timeout: the most to wait for a node to answer, in seconds, each time.
    :ivar etcd_timeout: the most to wait for etcd on all control planes, in seconds.
    :ivar apply_retries: how often an apply that got no answer is tried again.
    :ivar cert_hours: how long client certificates live (``CERT_TTL``), in hours.
    """

    goal: Goal
    apply_mode: str
    call_timeout: float
    node_timeout: float
    etcd_timeout: float
    apply_retries: int
    cert_hours: int = 8760


class CniInstall(StrEnum):
    """How the network comes up: the fact ``CNI_INSTALL``."""

    JOB = "job"
    HELM = "helm"
    NONE = "none"


@dataclass(frozen=True)
class Cilium:
    """How Cilium gets into the machine configs of an environment's control planes.

    :ivar install: by a Job that installs it, or by its rendered chart; never ``NONE``.
    :ivar version: of Cilium, which is its chart's as well, without a leading v.
    :ivar cli_image: the image of cilium-cli that the Job runs.
    :ivar chart: an OCI reference, a repository's URL, or a local archive or directory.
    :ivar chart_sha256: of the chart's archive, in hex; "" for a directory.
    """

    install: CniInstall
    version: str
    cli_image: str
    chart: str
    chart_sha256: str


@dataclass(frozen=True)
class Cluster:
    """What cluster.env says about the cluster as a whole.

    :ivar endpoint: the Kubernetes API as an https URL with a port.
    :ivar talos_version: the version to install, e.g. ``v1.13.0``.
    :ivar talos_contract: the version whose defaults generated configs keep, e.g. ``v1.13``.
    :ivar kubernetes_version: without a leading v, e.g. ``1.36.0``.
    :ivar simulated: its nodes are simulated ones on loopback addresses.
    :ivar lab: its nodes are real ones in QEMU, reached by loopback addresses.
    :ivar installer: the image by which Talos is written to a disk; "" for the plain one.
    :ivar protected: its machines and their disks may not be destroyed.
    :ivar talosctl_version: ``TALOSCTL_VERSION`` without a leading v; "" for the pinned one.
    """

    name: str
    endpoint: str
    talos_version: str
    talos_contract: str
    kubernetes_version: str
    simulated: bool = False
    lab: bool = False
    installer: str = ""
    protected: bool = False
    talosctl_version: str = ""

    @property
    def talosctl(self) -> str:
        """The version of the talosctl for it: renders, validates and calls its nodes."""
        return self.talosctl_version or talosctls.version_for(self.talos_version)

    @property
    def throwaway(self) -> bool:
        """Whether it lives on this machine only, so that its secrets may be made on the fly."""
        return self.simulated or self.lab

    @property
    def installer_image(self) -> str:
        """The installer in machine configs, where no patch sets another.

        From Talos 1.14 on only the Image Factory has it (Talos's release notes of 1.14).
        """
        if self.installer:
            return self.installer
        if numbers(self.talos_version)[:2] >= FIRST_WITHOUT_OWN_INSTALLER:
            return Images(PLAIN, self.talos_version).installer
        return f"ghcr.io/siderolabs/installer:{self.talos_version}"

    @property
    def contract(self) -> tuple[int, int]:
        """The contract as numbers, e.g. (1, 13)."""
        major, minor = self.talos_contract.removeprefix("v").split(".")[:2]
        return int(major), int(minor)


@dataclass(frozen=True)
class Node:
    """One machine: a directory below ``control_planes`` or ``workers``.

    :ivar facts: all that ``${NAME}`` may name in this node's patches.
    :ivar address: where its Talos API answers once it is configured.
    :ivar mac: its ``NODE_MAC`` in lower case with colons; where node.env gives none, one derived
        from its name for a virtual machine, "" for bare metal.
    :ivar patches: the patch files of all layers that make its config, in the order they apply.
    :ivar chosen: the Image Factory's images that its facts ask for; None where the environment's
        count.
    :ivar env_files: where its facts may stand, the nearest first: node.env, its role's common.env,
        cluster.env.
    """

    name: str
    role: Role
    hostname: str
    address: str
    directory: Path
    patches: tuple[Path, ...]
    facts: Mapping[str, str] = field(compare=False)
    chosen: Choice | None = field(default=None, compare=False)
    env_files: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def config_name(self) -> str:
        """The stem of its machine config's file name, e.g. ``controlplane-cp_1``."""
        return f"{self.role}-{self.name}"

    @property
    def env_file(self) -> Path:
        return self.directory / "node.env"

    @property
    def mac(self) -> str:
        return self.facts.get("NODE_MAC", "")

    @property
    def mac_check(self) -> bool:
        """Whether a machine's MAC address is compared before anything is sent (``MAC_CHECK``)."""
        return self.facts.get("MAC_CHECK") != "off"

    @property
    def uuid(self) -> str:
        """The machine's UUID in lower case (``NODE_UUID``); "" where node.env gives none."""
        return self.facts.get("NODE_UUID", "")

    @property
    def maintenance_address(self) -> str:
        """Where it answers in maintenance mode: ``NODE_MAINTENANCE_IP``, else its endpoint.

        An address or a name, with a port where it is not Talos's own.
        """
        return self.facts.get("NODE_MAINTENANCE_IP") or self.endpoint

    @property
    def endpoint(self) -> str:
        """Where talosctl connects to reach it: ``NODE_ENDPOINT``, else its address.

        An address or a name, with a port where it is not Talos's own.
        """
        return self.facts.get("NODE_ENDPOINT") or self.address

    @property
    def endpoint_host(self) -> str:
        """The address or name in :attr:`endpoint`, without a port: what its certificate names."""
        return endpoints.host_of(self.endpoint)

    @property
    def short_hostname(self) -> str:
        """Its host name without a domain: its name to etcd and, as a rule, to Kubernetes."""
        return endpoints.short_name(self.hostname)

    @property
    def target(self) -> str:
        """The arguments by which talosctl reaches this node and no other."""
        return f"-n {self.address} -e {self.endpoint}"

    @property
    def cert_fingerprint(self) -> str:
        """The SHA-256 fingerprint of its maintenance certificate (``NODE_CERT_FINGERPRINT``)."""
        return self.facts.get("NODE_CERT_FINGERPRINT", "")


@dataclass(frozen=True)
class Environment:
    """One cluster and its directory.

    :ivar bundle: the SOPS-encrypted Talos secrets bundle that serves it; it need not exist yet.
    :ivar shares_bundle_with: other environments that the same bundle serves.
    :ivar cilium: how Cilium is installed; None where the workflow does not install it.
    :ivar facts: what ``${NAME}`` may name in files that are not one node's.
    :ivar vms: the virtual machines that its nodes are; None where they are bare metal.
    :ivar chosen: the Image Factory's images that nodes without such facts of their own get; None
        where nothing was asked of its facts.
    :ivar artifact: where the machine configs come from, instead of being rendered.
    :ivar stand_in: a throw-away bundle in memory, to check without the real one; b"" for none.
    :ivar output: where the directory with what is made for it stands.
    :ivar access: with which client certificate its nodes are asked.
    """

    name: str
    directory: Path
    cluster: Cluster
    options: Options
    nodes: tuple[Node, ...]
    bundle: Path
    shares_bundle_with: tuple[str, ...] = ()
    cilium: Cilium | None = None
    facts: Mapping[str, str] = field(default_factory=dict, compare=False)
    vms: Vms | None = None
    chosen: Choice | None = None
    artifact: Artifact | None = field(default=None, compare=False, repr=False)
    stand_in: bytes = field(default=b"", compare=False, repr=False)
    output: Path = Path("rendered_configs")
    access: Access = Access.ADMIN

    @property
    def env_file(self) -> Path:
        return self.directory / "cluster.env"

    @cached_property
    def control_planes(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is Role.CONTROLPLANE)

    @cached_property
    def workers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is Role.WORKER)

    @property
    def first_control_plane(self) -> Node:
        """The control plane that etcd is bootstrapped on: the first by name."""
        return self.control_planes[0]

    @cached_property
    def _by_config_name(self) -> Mapping[str, Node]:
        return {node.config_name: node for node in self.nodes}

    def node(self, role: str, name: str) -> Node:
        """The node of that role and name.

        :raises KeyError: when there is none.
        """
        return self._by_config_name[f"{role}-{name}"]

    def cluster_of(self, node: Node) -> Cluster:
        """The cluster as a node's config is generated for it: with the node's own installer."""
        if node.chosen is None or node.chosen.installer == self.cluster.installer:
            return self.cluster
        return replace(self.cluster, installer=node.chosen.installer)

    @property
    def schematics(self) -> tuple[Path, ...]:
        """The files of all schematics that ``TALOS_SCHEMATIC`` names, each once."""
        chosen = (self.chosen, *(node.chosen for node in self.nodes))
        return tuple(dict.fromkeys(one.file for one in chosen if one and one.file))

    @property
    def paths(self) -> Paths:
        return Paths(self.output / self.name)
