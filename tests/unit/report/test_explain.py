from __future__ import annotations

import pytest

from talosmake.render.disclosure import secrets_in
from talosmake.report import provenance
from talosmake.report.explain import BASE, Explanation, Source, lines

CONFIG = {
    "machine": {
        "sysctls": {"vm.nr_hugepages": "1", "vm.swappiness": "2", "vmx": "3"},
        "network": {"interfaces": [{"mtu": 4}, {"mtu": 5}]},
        "nodeLabels": {"example.org/zone": "6"},
    }
}
VOLUME = {"maxSize": "7"}
EXPLANATION = Explanation(
    [Source(BASE)],
    {
        ("", ""): provenance.traced([CONFIG]),
        ("VolumeConfig", "EPHEMERAL"): provenance.traced([VOLUME]),
    },
    secrets_in([], []),
)


def values(path: str) -> str:
    return "".join(line.rpartition(": ")[2].strip("'") for line in lines(EXPLANATION, path)[::2])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "1234567"),
        ("machine", "123456"),
        ("machine.sysctls", "123"),
        ("machine.sysctls.", "123"),
        ("machine.sysctls[vm.nr_hugepages]", "1"),
        ("machine.sysctls.vm.nr_hugepages", "1"),
        ("machine.sysctls.vm", "12"),
        ("machine.nodeLabels[example.org/zone]", "6"),
        ("machine.network.interfaces", "45"),
        ("machine.network.interfaces[1]", "5"),
        ("machine.network.interfaces.1.mtu", "5"),
        ("VolumeConfig.EPHEMERAL.maxSize", "7"),
        ("machine.sysctls.vm.nr", ""),
        ("sysctls", ""),
    ],
)
def test_what_a_path_shows(path: str, expected: str) -> None:
    assert values(path) == expected


def test_each_line_shown_can_be_asked_for() -> None:
    for line in lines(EXPLANATION)[::2]:
        path = line.rpartition(": ")[0]
        assert lines(EXPLANATION, path)[0] == line


@pytest.mark.parametrize("number", [1234567, 123456.5])
def test_number_at_a_key_of_a_secret_is_not_shown(number: float) -> None:
    """What Talos only passes on, such as extraConfig, has numbers without quotes."""
    config = {"machine": {"kubelet": {"extraConfig": {"password": number, "port": number}}}}
    shown = lines(
        Explanation([Source(BASE)], {("", ""): provenance.traced([config])}, secrets_in([], []))
    )
    assert shown[0] == "machine.kubelet.extraConfig.password: <redacted>"
    assert shown[2] == f"machine.kubelet.extraConfig.port: {number}"


def test_number_that_an_encrypted_patch_sets_elsewhere_is_not_shown() -> None:
    config = {"machine": {"kubelet": {"extraConfig": {"a": 1234567, "b": True, "c": None}}}}
    shown = lines(
        Explanation(
            [Source(BASE)], {("", ""): provenance.traced([config])}, secrets_in(["1234567"], [])
        )
    )
    assert [line.rpartition(": ")[2] for line in shown[::2]] == ["<redacted>", "true", "null"]
