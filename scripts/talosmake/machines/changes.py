"""What a plan is made of: changes in their order, for the executor and for people (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from talosmake.base.errors import MachineError
from talosmake.inventory.machines import Owner, Vm


class Effect(StrEnum):
    """What a change means for what is there."""

    CREATE = "create"
    START = "start"
    UPDATE_LIVE = "update live"
    UPDATE = "update"
    UPDATE_AT_NEXT_START = "update at next start"
    REPLACE = "replace"
    DELETE = "delete"


class Action(StrEnum):
    """What the executor does for a change."""

    CREATE_NETWORK = auto()
    START_NETWORK = auto()
    UPDATE_RESERVATIONS = auto()
    REPLACE_NETWORK = auto()
    CREATE_POOL = auto()
    START_POOL = auto()
    UPLOAD_IMAGE = auto()
    CREATE_VOLUME = auto()
    GROW_VOLUME = auto()
    REPLACE_VOLUME = auto()
    DELETE_VOLUME = auto()
    DEFINE_DOMAIN = auto()
    START_DOMAIN = auto()
    SET_AUTOSTART = auto()


_NETWORK_STEPS = (
    Action.CREATE_NETWORK,
    Action.START_NETWORK,
    Action.UPDATE_RESERVATIONS,
    Action.REPLACE_NETWORK,
)
_STORAGE_STEPS = (Action.CREATE_POOL, Action.START_POOL, Action.UPLOAD_IMAGE)


@dataclass(frozen=True)
class Change:
    """One thing to do.

    :ivar name: libvirt's name of the network, pool, volume or domain.
    :ivar owner: whose it is; no role and node for what all share.
    :ivar details: what differs, for people.
    """

    effect: Effect
    action: Action
    name: str
    owner: Owner
    details: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The kind of object, in libvirt's word."""
        if self.action in _NETWORK_STEPS:
            return "network"
        if self.action in (Action.CREATE_POOL, Action.START_POOL):
            return "pool"
        domain = (Action.DEFINE_DOMAIN, Action.START_DOMAIN, Action.SET_AUTOSTART)
        return "domain" if self.action in domain else "volume"


@dataclass(frozen=True)
class Plan:
    """What is to be done, in the order in which it has to be.

    :ivar waiting: by domain, what was set already but holds only from its next start on.
    :ivar leftovers: domains of this environment whose nodes are no longer in Git.
    :ivar refused: why some of it cannot or must not be done; then nothing is.
    """

    changes: tuple[Change, ...]
    waiting: Mapping[str, tuple[str, ...]]
    leftovers: tuple[str, ...]
    refused: tuple[MachineError, ...]

    @property
    def network(self) -> tuple[Change, ...]:
        return tuple(
            change
            for change in self.changes
            if change.action in _NETWORK_STEPS and not change.owner.node
        )

    @property
    def storage(self) -> tuple[Change, ...]:
        """What is to be done for the pool and the images that all machines boot from."""
        return tuple(change for change in self.changes if change.action in _STORAGE_STEPS)

    def machine(self, vm: Vm) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.owner == vm.owner)


def show(plan: Plan, environment: str) -> str:
    """A plan for people."""
    lines = [_line(change) for change in plan.changes]
    for domain, details in plan.waiting.items():
        lines.append(
            f"  wait   domain {domain}: set, holds from its next start: {'; '.join(details)}"
        )
    lines += [f"  left   domain {name}: its node is no longer in Git" for name in plan.leftovers]
    lines += [f"  refuse {error.message}" for error in plan.refused]
    if not lines:
        return f"{environment}: the virtual machines are as Git says"
    return "\n".join([f"{environment}: what 'snakemake vms' would do:", *lines])


def _line(change: Change) -> str:
    details = f" ({', '.join(change.details)})" if change.details else ""
    return f"  {change.effect}: {change.what} {change.name}{details}"
