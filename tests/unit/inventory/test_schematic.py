"""Schematics' ids, by the Image Factory's own package."""

from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base import tools
from talosmake.base.errors import InventoryError, ToolError
from talosmake.base.process import Result
from talosmake.inventory import schematic
from talosmake.inventory.schematic import PLAIN, schematic_id

HERE = Path("schematic.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", PLAIN),
        ("# nothing\n", PLAIN),
        ("{}\n", PLAIN),
        ("customization: {}", PLAIN),
        # Ids that stand in public repositories and in the factory's own tests.
        (
            "customization:\n  bootloader: sd-boot\n",
            "9ed5fecdacb36b5c5427b87d409f1065cfb2df69b0f71c58b868d9d466d8dab3",
        ),
        (
            "customization: {extraKernelArgs: [noapic, nolapic]}",
            "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c",
        ),
        (
            "customization: {meta: [{key: 10, value: foo}]}",
            "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f",
        ),
        (
            "overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}",
            "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9",
        ),
        (
            "customization: {secureboot: {includeWellKnownCertificates: true}}",
            "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6",
        ),
        (
            "customization: {diskImage: {sectorSize: 4096}}",
            "92833e9ddd9bb9e11b2464fa5525429f01866306d52ebd882ee08d7918f6d1ea",
        ),
    ],
)
def test_known_ids(text: str, expected: str) -> None:
    assert schematic_id(text, HERE) == expected


# The fields that the factory's package of version 1.4.0 has; each makes another id.
FIELDS = (
    "owner: me",
    "overlay: {name: a, image: b}",
    "overlay: {name: a, image: b, options: {uart: true, configTxt: 'a=1'}}",
    "customization: {embeddedMachineConfiguration: 'machine: {}'}",
    "customization: {extraKernelArgs: [console=ttyS0]}",
    "customization: {meta: [{key: 10, value: 'a: b'}]}",
    "customization: {systemExtensions: {officialExtensions: [siderolabs/gvisor]}}",
    "customization: {bootloader: grub}",
    "customization: {bootloader: dual-boot}",
    "customization: {secureboot: {enrollKeys: force}}",
    "customization: {secureboot: {includeWellKnownCertificates: true}}",
    "customization: {diskImage: {sectorSize: 4096}}",
)


def test_every_field_counts() -> None:
    assert len({schematic_id(text, HERE) for text in (*FIELDS, "")}) == len(FIELDS) + 1


def test_the_form_of_the_text_does_not_count() -> None:
    one = "customization:\n  extraKernelArgs: ['a', \"b\"]\n  bootloader: sd-boot # why\n"
    other = "customization: {bootloader: sd-boot, extraKernelArgs: [a, b]}"
    assert schematic_id(one, HERE) == schematic_id(other, HERE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("customisation: {}", ":1: customisation: the Image Factory knows no such field"),
        (
            "customization:\n  bootloder: sd-boot\n",
            ":2: customization.bootloder: the Image Factory knows no such field",
        ),
        (
            "customization:\n  secureboot:\n    enrolKeys: force\n",
            ":3: customization.secureboot.enrolKeys: the Image Factory knows no such field",
        ),
        ("customization: {bootloader: lilo}", ":1: lilo does not belong to BootloaderKind"),
        ("customization: {meta: [{key: 300, value: x}]}", ":1: cannot construct !!int `300`"),
        ("customization: {extraKernelArgs: a}", ":1: cannot construct !!str `a` into []string"),
        ("a: 1\na: 2\n", ':2: mapping key "a" already defined'),
        ("customization: {}\n---\ncustomization: {}\n", ":2: a second document"),
        ("[]", ":1: not a mapping of overlay and customization"),
        ("a: [", "while parsing a flow node"),
    ],
)
def test_what_is_no_schematic_is_refused(text: str, message: str) -> None:
    with pytest.raises(InventoryError) as error:
        schematic_id(text, HERE)
    assert error.value.message.startswith("schematic.yaml:")
    assert message in error.value.message
    assert "TALOS_SCHEMATIC_ID, in place of TALOS_SCHEMATIC" in error.value.hint


@pytest.mark.parametrize("fault", ["missing", "of another version"])
def test_without_the_program_the_error_says_how_to_get_it(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def require(tool: tools.Tool) -> str:
        raise ToolError(f"{tool.name} is {fault}")

    monkeypatch.setattr(schematic, "require", require)
    with pytest.raises(ToolError) as error:
        schematic_id(f"# {fault}", HERE)
    assert error.value.message == f"TALOS_SCHEMATIC: schematic-id is {fault}"
    assert "'make setup WITH=schematic'" in error.value.hint


def test_an_answer_that_is_no_id_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schematic, "run", lambda *_, **__: Result(0, b"\n", ""))
    with pytest.raises(ToolError, match="no schematic's id"):
        schematic_id("# an answer that is no id", HERE)


def test_the_program_runs_once_for_a_content(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = schematic_id("# once", HERE)
    monkeypatch.setattr(schematic, "run", None)
    assert schematic_id("# once", HERE) == expected
