"""Lint rules about installer images that patches set (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from talosmake.base.tools import numbers
from talosmake.checks.finding import Finding, NodeView
from talosmake.inventory.factory import FIRST_WITHOUT_OWN_INSTALLER
from talosmake.patches import layout

_TALOS_OWN = re.compile(r"ghcr\.io/siderolabs/installer(?=[:@]|$)")
_OF_A_SCHEMATIC = re.compile(r"/(?P<name>[a-z0-9-]*installer[a-z0-9-]*)/[0-9a-f]{64}(?=[:@]|$)")


def installer_source(view: NodeView) -> Iterator[Finding]:
    """An installer that is not published, or that does not boot as the node is to."""
    for entry in view.entries:
        for keys, value in layout.found(entry.content, layout.INSTALL_IMAGE):
            image = str(value)
            if found := _unpublished(view, image) or _not_signed(view, image):
                what, do = found
                label = f"{entry.label(keys)}: {entry.shown(keys, image)}"
                yield Finding(entry.where(*keys), f"{label} {what}", do)


def _unpublished(view: NodeView, image: str) -> tuple[str, str] | None:
    """Talos's release notes of 1.14: the installer is the Image Factory's alone."""
    version = view.environment.cluster.talos_version
    if numbers(version)[:2] < FIRST_WITHOUT_OWN_INSTALLER or not _TALOS_OWN.match(image):
        return None
    return (
        f"is not published for Talos {version}: from 1.14 on the Image Factory has the installer",
        "Leave the image out: it then is the factory's. Extensions and kernel arguments go into a "
        f"schematic, named by TALOS_SCHEMATIC in {view.environment.env_file}.",
    )


def _not_signed(view: NodeView, image: str) -> tuple[str, str] | None:
    chosen, found = view.node.chosen, _OF_A_SCHEMATIC.search(image)
    if not (chosen and chosen.images.secure_boot and found):
        return None
    if found["name"].endswith("-secureboot"):
        return None
    return (
        "is none for secure boot, and TALOS_SECURE_BOOT is true: firmware that enforces it does "
        "not boot what this one writes",
        f"Leave the image out, or take {found['name']}-secureboot.",
    )
