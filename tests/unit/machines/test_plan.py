"""What is to be done, decided from what is wanted and what is there."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from talosmake.inventory.disks import disks
from talosmake.inventory.machines import (
    GIB,
    Accelerator,
    Boot,
    Firmware,
    Image,
    ImageKind,
    Network,
    NetworkMode,
    Owner,
    Pool,
    Reservation,
    Storage,
    Subnet,
    Vm,
    Vms,
    complete_mark,
    placed,
    stable_uuid,
)
from talosmake.machines.actual import ActualDomain, ActualNetwork, Current
from talosmake.machines.changes import Action, Effect, Plan, show
from talosmake.machines.plan import plan

OWNER = Owner("dev", "talos-dev")
ISO = Image(ImageKind.ISO, "/talos.iso", "ab" * 32)


def vm(name: str, number: int, **changes: object) -> Vm:
    domain = f"dev-worker-{name}"
    made = Vm(
        domain=domain,
        uuid=stable_uuid("dev", f"worker-{name}"),
        owner=Owner("dev", "talos-dev", "worker", name),
        mac=f"52:54:00:00:00:0{number}",
        cpus=2,
        memory_mib=2048,
        disks=disks(domain, 20, ()),
        accelerator=Accelerator.KVM,
        firmware=Firmware.EFI,
        secure_boot=False,
        tpm=False,
        autostart=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def wanted(*machines: Vm, mode: NetworkMode = NetworkMode.NAT) -> Vms:
    reservations = tuple(
        Reservation(f"10.0.1.2{machine.mac[-1]}", machine.mac, machine.owner.node)
        for machine in machines
    )
    subnet = Subnet(IPv4Interface("10.0.1.1/24"), "dev.internal", None, reservations)
    network = Network("talosmake-dev", stable_uuid("dev", "network"), OWNER, mode, subnet=subnet)
    storage = Storage("talosmake-dev", stable_uuid("dev", "pool"), "/pool")
    return Vms("qemu:///system", network, storage, Boot((ISO,)), machines, 60)


def current(vms: Vms, **changes: object) -> Current:
    """What there is when all is as wanted and runs."""
    volumes = {disk.volume: disk.gib * GIB for m in vms.machines for disk in m.disks}
    volumes |= {ISO.volume: 100, complete_mark(ISO.volume): 1}
    pool = Pool(vms.storage.pool, vms.storage.uuid, "dir", "/pool", True, 1000 * GIB, volumes)
    domains = {}
    for machine in vms.machines:
        domain = placed(machine, vms, "/pool")
        domains[machine.domain] = ActualDomain(domain, domain, "running", True, "pc-q35-7.2")
    now = Current(ActualNetwork(vms.network, True, True), pool, domains)
    return replace(now, **changes)  # type: ignore[arg-type]


ONE, TWO = vm("one", 1), vm("two", 2)
BOTH = wanted(ONE, TWO)


def steps(decided: Plan) -> list[Action]:
    return [change.action for change in decided.changes]


def refused(decided: Plan) -> str:
    return "\n".join(str(error) for error in decided.refused)


def test_nothing_there() -> None:
    decided = plan(BOTH, Current())
    machine = [Action.CREATE_VOLUME, Action.DEFINE_DOMAIN, Action.START_DOMAIN]
    shared = [Action.CREATE_NETWORK, Action.CREATE_POOL, Action.UPLOAD_IMAGE]
    assert steps(decided) == [*shared, *machine, *machine]
    assert [c.action for c in decided.network] == [Action.CREATE_NETWORK]
    assert [c.action for c in decided.storage] == [Action.CREATE_POOL, Action.UPLOAD_IMAGE]
    assert [c.action for c in decided.machine(TWO)] == machine
    assert not decided.refused


def test_all_as_wanted_is_nothing_to_do() -> None:
    decided = plan(BOTH, current(BOTH))
    assert decided == Plan((), {}, (), ())
    assert show(decided, "dev") == "dev: the virtual machines are as Git says"


def test_an_interrupted_upload_is_done_again() -> None:
    now = current(BOTH)
    assert now.pool
    now.pool.volumes.pop(complete_mark(ISO.volume))
    assert steps(plan(BOTH, now)) == [Action.UPLOAD_IMAGE]


def test_only_what_is_missing_is_made() -> None:
    now = current(BOTH)
    domains = {ONE.domain: now.domains[ONE.domain]}
    decided = plan(BOTH, replace(now, domains=domains))
    assert steps(decided) == [Action.DEFINE_DOMAIN, Action.START_DOMAIN]
    assert {change.owner for change in decided.changes} == {TWO.owner}


def test_a_machine_that_is_off_is_started() -> None:
    now = current(BOTH)
    off = replace(now.domains[ONE.domain], live=None, state="shut off")
    assert steps(plan(BOTH, replace(now, domains={**now.domains, ONE.domain: off}))) == [
        Action.START_DOMAIN
    ]


def test_memory_and_cpus_wait_for_the_next_start_and_keep_the_disk() -> None:
    larger = wanted(vm("one", 1, memory_mib=4096, cpus=4), TWO)
    [change] = plan(larger, current(BOTH)).changes
    assert (change.effect, change.action) == (Effect.UPDATE_AT_NEXT_START, Action.DEFINE_DOMAIN)
    assert change.details == ("CPUs 2 -> 4", "memory 2048 MiB -> 4096 MiB")


def test_what_is_set_but_not_yet_live_is_told_and_not_done_again() -> None:
    larger = wanted(vm("one", 1, memory_mib=4096), TWO)
    now = current(larger)
    old = replace(now.domains[ONE.domain], live=placed(ONE, BOTH, "/pool"))
    decided = plan(larger, replace(now, domains={**now.domains, ONE.domain: old}))
    assert decided.changes == ()
    assert decided.waiting == {ONE.domain: ("memory 2048 MiB -> 4096 MiB",)}


def test_a_new_node_is_reserved_in_the_running_network_and_concerns_no_other() -> None:
    three = vm("three", 3)
    decided = plan(wanted(ONE, TWO, three), current(BOTH))
    assert {change.owner for change in decided.changes} == {three.owner}
    first = decided.changes[0]
    assert (first.effect, first.action) == (Effect.UPDATE_LIVE, Action.UPDATE_RESERVATIONS)
    assert decided.network == ()


def test_another_mac_is_reserved_at_once() -> None:
    other = wanted(vm("one", 9), TWO)
    subnet = other.network.subnet
    assert subnet
    mine = replace(subnet.reservations[0], address="10.0.1.21")
    subnet = replace(subnet, reservations=(mine, *subnet.reservations[1:]))
    other = replace(other, network=replace(other.network, subnet=subnet))
    changes = plan(other, current(BOTH)).changes
    assert [change.action for change in changes] == [
        Action.UPDATE_RESERVATIONS,
        Action.DEFINE_DOMAIN,
    ]
    assert changes[0].details == (
        "- 52:54:00:00:00:01 10.0.1.21 one",
        "+ 52:54:00:00:00:09 10.0.1.21 one",
    )


def test_another_network_needs_machines_that_are_off() -> None:
    routed = wanted(ONE, TWO, mode=NetworkMode.ROUTE)
    now = current(BOTH)
    assert "cannot be changed under running machines" in refused(plan(routed, now))
    off = {name: replace(domain, live=None) for name, domain in now.domains.items()}
    decided = plan(routed, replace(now, domains=off))
    assert decided.changes[0].action is Action.REPLACE_NETWORK
    assert decided.changes[0].details == ("mode nat -> route",)


def test_disks_grow_and_do_not_shrink() -> None:
    grown = wanted(vm("one", 1, disks=disks(ONE.domain, 30, (5,))), TWO)
    decided = plan(grown, current(BOTH))
    assert steps(decided) == [Action.GROW_VOLUME, Action.CREATE_VOLUME, Action.DEFINE_DOMAIN]
    assert decided.changes[0].effect is Effect.UPDATE_LIVE

    now = current(grown)
    assert "would shrink from 30 GiB to 20 GiB" in refused(plan(BOTH, now))
    assert f"disk {ONE.domain}-data-1 is no longer in VM_DISKS" in refused(plan(BOTH, now))
    assert "but the machine runs" in refused(plan(BOTH, now, "one"))
    assert "loses its data" in refused(plan(BOTH, now, "two"))
    off = {name: replace(domain, live=None) for name, domain in now.domains.items()}
    stopped = replace(now, domains=off)
    assert "is protected" in refused(plan(BOTH, stopped, "one", protected=True))
    decided = plan(BOTH, stopped, "one")
    assert not decided.refused
    assert steps(decided)[:2] == [Action.REPLACE_VOLUME, Action.DELETE_VOLUME]


def test_a_pool_is_started_first_and_what_it_holds_is_not_guessed() -> None:
    now = current(BOTH, network=None)
    assert now.pool
    off = replace(now.pool, active=False, volumes={})
    decided = plan(BOTH, replace(now, pool=off))
    assert steps(decided) == [Action.START_POOL, Action.CREATE_NETWORK]
    assert [change.action for change in decided.storage] == [Action.START_POOL]
    theirs = replace(off, uuid="other")
    assert steps(plan(BOTH, replace(now, pool=theirs))) == [Action.CREATE_NETWORK]


def test_what_is_not_ours_is_refused() -> None:
    now = current(BOTH)
    for owner in (None, replace(ONE.owner, cluster="other"), replace(ONE.owner, environment="x")):
        foreign = replace(now.domains[ONE.domain].domain, owner=owner)
        domains = {**now.domains, ONE.domain: replace(now.domains[ONE.domain], domain=foreign)}
        decided = plan(BOTH, replace(now, domains=domains))
        assert f"dev/one: there is a domain {ONE.domain}" in refused(decided)
        assert decided.changes == ()
    other = ActualNetwork(replace(BOTH.network, owner=None), True, True)
    assert "there is a network talosmake-dev" in refused(plan(BOTH, replace(now, network=other)))
    assert now.pool
    pool = replace(now.pool, uuid="other")
    assert "there is a storage pool" in refused(plan(BOTH, replace(now, pool=pool)))
    renamed = replace(now, domains={}, others={ONE.uuid: "renamed", TWO.uuid: "too"})
    assert "there is a domain renamed" in refused(plan(BOTH, renamed))


def test_machines_of_removed_nodes_are_left_over() -> None:
    decided = plan(wanted(ONE), current(BOTH))
    assert decided.leftovers == (TWO.domain,)
    assert decided.changes == ()
    assert "its node is no longer in Git" in show(decided, "dev")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"has_kvm": False}, "has no KVM, but one, two want it"),
        ({"available_mib": 4095}, "has 4095 MiB of memory left, and one, two together want 4096"),
        ({"has_bridge": False}, "has no bridge"),
        (
            {"pool": Pool("talosmake-dev", BOTH.storage.uuid, "dir", "/pool", True, GIB, {})},
            "storage pool talosmake-dev is full: it has 1 GiB left, and new disks need 4 GiB",
        ),
    ],
    ids=["kvm", "memory", "bridge", "space"],
)
def test_what_the_host_lacks(there: dict[str, object], message: str) -> None:
    now = replace(Current(), **there)  # type: ignore[arg-type]
    assert message in refused(plan(BOTH, now))


def test_machines_that_run_need_nothing_more() -> None:
    assert not plan(BOTH, current(BOTH, has_kvm=False, available_mib=0)).refused


def test_an_existing_pool_must_be_there() -> None:
    vms = replace(BOTH, storage=Storage("default"))
    assert "there is no storage pool 'default'" in refused(plan(vms, Current()))


def test_the_plan_is_shown() -> None:
    shown = show(plan(BOTH, Current(has_kvm=False)), "dev")
    assert "  create: network talosmake-dev (nat, 10.0.1.1/24, 2 reservations)" in shown
    assert "  create: domain dev-worker-one (2 CPUs, 2048 MiB, kvm, efi, MAC 52:54" in shown
    assert "  refuse dev: the host of qemu:///system has no KVM" in shown
