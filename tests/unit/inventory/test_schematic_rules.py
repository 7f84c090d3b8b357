"""What a schematic may not say, though it has an id."""

from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base.errors import InventoryError
from talosmake.inventory import schematic_rules
from talosmake.inventory.schematic import schematic_id

HERE = Path("schematic.yaml")
EXTENSIONS = "customization:\n  systemExtensions:\n    officialExtensions:\n"


def refused(text: str) -> str:
    schematic_id(text, HERE)  # the factory takes it
    with pytest.raises(InventoryError) as error:
        schematic_rules.check(text, HERE)
    return error.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "customization: {}",
        "overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}",
        EXTENSIONS + "      - siderolabs/qemu-guest-agent\n      - siderolabs/i915\n",
        EXTENSIONS + "      - my.team/some_thing\n",
        "customization: {secureboot: {enrollKeys: off}}",
    ],
)
def test_what_is_right(text: str) -> None:
    schematic_id(text, HERE)
    schematic_rules.check(text, HERE)


@pytest.mark.parametrize(
    "name",
    [
        "qemu-guest-agent",
        "siderolabs/i915:v1.2.3",
        "ghcr.io/siderolabs/i915",
        "Siderolabs/i915",
        "siderolabs/",
        "''",
    ],
)
def test_extensions_that_are_none(name: str) -> None:
    message = refused(f"{EXTENSIONS}      - siderolabs/gvisor\n      - {name}\n")
    where = "schematic.yaml:5: customization.systemExtensions.officialExtensions"
    shown = repr(name.strip("'"))
    assert message == f"{where}: {shown} is no name of an extension"


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = (
        f"{EXTENSIONS}      - siderolabs/gvisor\n      - siderolabs/gvisor\n      - gvisor\n"
        "  secureboot: {enrollKeys: always}\n"
    )
    lines = refused(text).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"schematic.yaml:{n}" for n in (5, 6, 7)]
    assert lines[0].endswith("siderolabs/gvisor is named twice")
    assert lines[2].endswith("'always': must be one of if-safe, manual, force, off")


def test_secure_boot_and_a_schematic_fit() -> None:
    plain, secure = (
        "customization: {bootloader: grub}",
        "customization: {secureboot: {enrollKeys: off}}",
    )
    schematic_rules.check_secure_boot(plain, HERE, "dev/cp_1", "cluster.env", secure_boot=False)
    schematic_rules.check_secure_boot(secure, HERE, "dev/cp_1", "cluster.env", secure_boot=True)
    schematic_rules.check_secure_boot("", HERE, "dev/cp_1", "cluster.env", secure_boot=True)


def test_a_schematic_for_secure_boot_without_it() -> None:
    text = "customization:\n  secureboot:\n    includeWellKnownCertificates: true\n"
    with pytest.raises(InventoryError) as error:
        schematic_rules.check_secure_boot(text, HERE, "dev/cp_1", "cluster.env", secure_boot=False)
    assert error.value.message == (
        "schematic.yaml:2: customization.secureboot is for images of secure boot, and dev/cp_1 "
        "gets others"
    )
    assert error.value.hint.startswith("Write TALOS_SECURE_BOOT=true into cluster.env")


def test_secure_boot_with_a_schematic_for_grub() -> None:
    text = "customization:\n  bootloader: grub\n"
    with pytest.raises(InventoryError) as error:
        schematic_rules.check_secure_boot(text, HERE, "dev/cp_1", "cluster.env:6", secure_boot=True)
    assert error.value.message == (
        "schematic.yaml:2: customization.bootloader: images of secure boot have no grub, and "
        "dev/cp_1 gets these"
    )
    assert "TALOS_SECURE_BOOT=true (cluster.env:6)" in error.value.hint


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("[]", "talos.platform=metal console=tty0 console=ttyS0 a=1 a=2 b"),
        ("[x=1 y, z]", "talos.platform=metal console=tty0 console=ttyS0 a=1 a=2 b x=1 y z"),
        ("[console=ttyAMA0]", "talos.platform=metal a=1 a=2 b console=ttyAMA0"),
        ("[a=3]", "talos.platform=metal console=tty0 console=ttyS0 a=1 a=2 b a=3"),
        ("[-a]", "talos.platform=metal console=tty0 console=ttyS0 b"),
        ("[-a=2, -b]", "talos.platform=metal console=tty0 console=ttyS0 a=1"),
        ("['-']", "talos.platform=metal console=tty0 console=ttyS0 a=1 a=2 b -"),
    ],
)
def test_a_kernel_s_command_line(extra: str, line: str) -> None:
    arguments = schematic_rules.kernel_arguments(f"customization: {{extraKernelArgs: {extra}}}")
    usual = "talos.platform=metal console=tty0 console=ttyS0 a=1 a=2 b"
    assert schematic_rules.command_line(usual, arguments) == line
