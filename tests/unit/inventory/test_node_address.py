"""Which address a node's own patches give it, and where they leave it open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from talosmake.inventory import node_address
from talosmake.patches import patch as patches_patch
from talosmake.patches.patch import Patch


def patch(text: str) -> Patch:
    return patches_patch.parse(text, Path("x.yaml"))


def addresses(own: Sequence[Patch], shared: Sequence[Patch] = ()) -> list[str]:
    return [*node_address.found(own, shared).addresses]


LINK = "apiVersion: v1alpha1\nkind: LinkConfig\nname: net0\naddresses:\n  - address: {}\n"
INTERFACE = (
    "machine:\n  network:\n    interfaces:\n      - interface: eth0\n        addresses: [{}]\n"
)


@pytest.mark.parametrize("form", [LINK, INTERFACE])
@pytest.mark.parametrize(
    ("written", "address"),
    [("10.0.1.11/24", "10.0.1.11"), ("10.0.1.11", "10.0.1.11"), ("'fd00::1/64'", "fd00::1")],
)
def test_static_address(form: str, written: str, address: str) -> None:
    assert addresses([patch(form.format(written))]) == [address]


@pytest.mark.parametrize(
    "text",
    [
        "machine:\n  network: {}\n",
        "machine:\n  network:\n    interfaces: ''\n",
        "machine:\n  network:\n    interfaces: [x]\n",
        "kind: LinkConfig\naddresses: [x]\n",
        "kind: LinkConfig\naddresses: x\n",
        "kind: LinkConfig\naddresses:\n",
        "kind: DHCPv4Config\naddresses:\n  - address: 10.0.1.11\n",
        LINK.format("${NODE_IP}/24"),
    ],
)
def test_no_static_address(text: str) -> None:
    assert addresses([patch(text)]) == []


def test_first_static_address_of_a_link_counts() -> None:
    several = [patch("machine: {}\n"), patch(LINK.format("10.0.1.12/24"))]
    found = addresses([*several, patch(LINK.format("10.0.1.13"))])
    assert found == ["10.0.1.12"]
    both = "kind: LinkConfig\nname: a\naddresses: [{address: 10.0.1.2}, {address: 'fd00::2'}]\n"
    assert addresses([patch(both)]) == ["10.0.1.2"]
    both = "machine: {network: {interfaces: [{interface: a, addresses: ['fd00::2', 10.0.1.2]}]}}\n"
    assert addresses([patch(both)]) == ["fd00::2"]


@pytest.mark.parametrize("kind", ["BondConfig", "BridgeConfig", "VLANConfig"])
def test_links_of_all_kinds_have_addresses(kind: str) -> None:
    other = LINK.replace("LinkConfig", kind).format("10.0.0.10/24")
    assert addresses([patch(other)]) == ["10.0.0.10"]
    link = LINK.replace("net0", "eth2").format("192.168.99.5/24")
    both = patch(f"{other}---\n{link}")
    assert addresses([both]) == ["10.0.0.10", "192.168.99.5"]


def test_addresses_of_vlans_and_of_several_interfaces() -> None:
    text = (
        "machine: {network: {interfaces: [\n"
        "  {interface: a, dhcp: true, vlans: [{vlanId: 5, addresses: [10.5.0.2/24, 10.5.0.3/24]}]},"
        "  {deviceSelector: {busPath: '0'}, addresses: [10.6.0.2/24]},\n"
        "  {deviceSelector: {busPath: '1'}, addresses: [10.6.0.2/32, 10.7.0.2/24]}]}}\n"
    )
    assert addresses([patch(text)]) == []
    assert addresses([patch(text.replace("dhcp: true, ", ""))]) == ["10.5.0.2", "10.6.0.2"]


# What is no address of the node to others, each beside the link that is meant.
REAL = "kind: LinkConfig\nname: eno1\naddresses: [{address: 10.9.0.21/24}]\n"
OTHERS = [
    "kind: LinkConfig\nname: lo\naddresses: [{address: 10.255.0.1/32}]\n",
    "kind: LinkConfig\nname: eno2\naddresses: [{address: 'fe80::2/64'}, {address: 169.254.1.1}]\n",
    "kind: LinkConfig\nname: eno2\nup: false\naddresses: [{address: 10.8.0.1/24}]\n",
    "kind: LinkConfig\nname: dummy0\naddresses: [{address: 10.8.0.1/24}]\n",
    "kind: DummyLinkConfig\nname: ext\naddresses: [{address: 192.168.66.1/32}]\n",
    "kind: DummyLinkConfig\nname: ext\n---\n"
    "kind: LinkConfig\nname: ext\naddresses: [{address: 10.8.0.1/24}]\n",
    "kind: WireguardConfig\nname: vpn\naddresses: [{address: 10.77.0.2/24}]\n",
    "machine: {network: {interfaces: [{interface: lo, addresses: [10.255.0.1/32]}]}}\n",
    "machine: {network: {interfaces: [{interface: d, dummy: true, addresses: [10.8.0.1/32]}]}}\n",
    "machine: {network: {interfaces: [{interface: e, ignore: true, addresses: [10.8.0.1/24]}]}}\n",
    "machine: {network: {interfaces: [{interface: w, wireguard: {listenPort: 1},"
    " addresses: [10.7.0.1/24]}]}}\n",
    "machine: {network: {interfaces: [{interface: wg0, cidr: 10.7.0.1/24}]}}\n",
    "kind: Layer2VIPConfig\nname: 10.9.0.10\nlink: eno1\n",
]
DHCP = [
    "kind: DHCPv4Config\nname: bond0\n",
    "kind: DHCPv6Config\nname: eno9\n",
    "kind: BondConfig\nname: bond0\nlinks: [a, b]\n---\nkind: DHCPv4Config\nname: bond0\n",
    "machine: {network: {interfaces: [{interface: eth9, dhcp: true}]}}\n",
    "machine: {network: {interfaces: [{deviceSelector: {busPath: '0'}, dhcp: true}]}}\n",
    "machine: {network: {interfaces: [{interface: a, vlans: [{vlanId: 5, dhcp: true}]}]}}\n",
]


@pytest.mark.parametrize("other", OTHERS)
def test_what_nobody_reaches_does_not_count(other: str) -> None:
    assert addresses([patch(other)]) == []
    assert addresses([patch(f"{other}---\n{REAL}")]) == ["10.9.0.21"]
    assert addresses([patch(REAL), patch(other)]) == ["10.9.0.21"]


@pytest.mark.parametrize("dhcp", DHCP)
def test_nothing_counts_beside_dhcp(dhcp: str) -> None:
    for own, shared in (([REAL, dhcp], []), ([dhcp, REAL], []), ([REAL], [dhcp])):
        assert addresses([*map(patch, own)], [*map(patch, shared)]) == []
        assert all(node_address.may_matter(text) for text in shared)


def test_a_second_address_of_a_link_with_dhcp_counts() -> None:
    assert addresses([patch(f"{REAL}---\nkind: DHCPv4Config\nname: eno1\n")]) == ["10.9.0.21"]
    both = "[{interface: e, dhcp: true, addresses: [10.9.0.21/24]}]"
    text = f"machine: {{network: {{interfaces: {both}}}}}\n"
    assert addresses([patch(text)]) == ["10.9.0.21"]


def test_dhcp_that_a_later_layer_switches_off() -> None:
    on = patch("kind: DHCPv4Config\nname: eno9\n")
    off = patch("kind: DHCPv4Config\nname: eno9\n$patch: delete\n")
    assert addresses([off, patch(REAL)], [on]) == ["10.9.0.21"]
    form = "machine: {{network: {{interfaces: [{{interface: eth9, dhcp: {}}}]}}}}\n"
    on, off = patch(form.format("true")), patch(form.format("false"))
    assert addresses([off, patch(REAL)], [on]) == ["10.9.0.21"]


def test_an_address_that_is_deleted_again() -> None:
    other = "kind: LinkConfig\nname: eno2\naddresses: [{address: 10.8.0.1/24}]\n"
    deleted = patch("kind: LinkConfig\nname: eno2\n$patch: delete\n")
    assert addresses([patch(REAL), patch(other), deleted]) == ["10.9.0.21"]


def test_of_a_link_the_first_address_that_others_reach() -> None:
    text = REAL.replace("[{", "[{address: 'fe80::21/64'}, {")
    assert addresses([patch(text)]) == ["10.9.0.21"]


def test_addresses_of_shared_layers_are_not_the_node_s() -> None:
    shared = "kind: LinkConfig\nname: eno2\naddresses: [{address: 10.8.0.1/24}]\n"
    assert addresses([patch(REAL)], [patch(shared)]) == ["10.9.0.21"]
    assert addresses([], [patch(shared)]) == []


def test_why_others_do_not_count_is_told() -> None:
    text = (
        "kind: DHCPv4Config\nname: bond0\n---\n"
        "kind: WireguardConfig\nname: wg0\naddresses: [{address: 10.77.0.2/24}]\n---\n"
        "kind: LinkConfig\nname: eno1\naddresses: [{address: 10.9.0.21/24}]\n"
    )
    assert node_address.found([patch(text)]).others == (
        "10.77.0.2 (wg0: a tunnel)",
        "10.9.0.21 (eno1: beside bond0, which has DHCP)",
    )
