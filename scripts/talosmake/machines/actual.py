"""What libvirt has of an environment, and what its host can do: what a plan is made of (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from talosmake.inventory.machines import Domain, Network, Pool


@dataclass(frozen=True)
class ActualNetwork:
    """A network as it is."""

    network: Network
    active: bool
    autostart: bool


@dataclass(frozen=True)
class ActualDomain:
    """A domain as it is.

    :ivar domain: as it will be when it starts the next time.
    :ivar live: as it runs now; None when it does not.
    :ivar state: libvirt's word, e.g. ``running`` or ``shut off``.
    :ivar machine: its machine type, e.g. ``pc-q35-7.2``.
    """

    domain: Domain
    live: Domain | None
    state: str
    autostart: bool
    machine: str


@dataclass(frozen=True)
class Current:
    """What libvirt has of an environment, and what its host can do.

    :ivar network, pool: those of the wanted names; None when there is none.
    :ivar domains: those of the wanted names and all others of this environment, by name.
    :ivar others: the names of domains that have a UUID we want, but another name.
    :ivar has_kvm: whether libvirt offers KVM.
    :ivar has_bridge: whether the wanted bridge is there; None when that cannot be asked.
    :ivar available_mib: memory that guests can have.
    """

    network: ActualNetwork | None = None
    pool: Pool | None = None
    domains: Mapping[str, ActualDomain] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    has_kvm: bool = True
    has_bridge: bool | None = None
    available_mib: int = 2**40
