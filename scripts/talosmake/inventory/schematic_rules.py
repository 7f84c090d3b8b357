"""What a schematic may say, beyond its form: what the Image Factory makes no image of.

The factory takes a schematic of any content and gives it an id; what is wrong with it is seen when
its first image is asked for, by a node's upgrade (siderolabs/image-factory: internal/profile).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from talosmake.base.errors import InventoryError
from talosmake.base.yamls import lookup
from talosmake.patches import positions

# The factory finds extensions by the names of their images' repositories.
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
_EXTENSIONS = ("customization", "systemExtensions", "officialExtensions")
_SECURE_BOOT = ("customization", "secureboot")
_ENROLL = (*_SECURE_BOOT, "enrollKeys")
_BOOTLOADER = ("customization", "bootloader")
# Arguments of the kernel that a schematic replaces, and does not add to.
_REPLACED = {"console", "talos.platform"}
# How systemd-boot enrolls keys (Talos: imager/profile, SDBootEnrollKeys).
_ENROLLED = ("if-safe", "manual", "force", "off")


def extensions(text: str) -> list[str]:
    """The names of a schematic's system extensions."""
    found = lookup(_parsed(text), *_EXTENSIONS)
    return [str(name) for name in found] if isinstance(found, list) else []


def kernel_arguments(text: str) -> tuple[str, ...]:
    """A schematic's extra arguments for the kernel, each by itself."""
    found = lookup(_parsed(text), "customization", "extraKernelArgs")
    return tuple(" ".join(found).split()) if isinstance(found, list) else ()


def command_line(usual: str, extra: Sequence[str]) -> str:
    """A kernel's command line with a schematic's arguments, as in the images made of it.

    Consoles and the platform take the place of the usual ones; ``-name`` and ``-name=value`` take
    such away (siderolabs/talos: pkg/imager; siderolabs/go-procfs: AppendAll).
    """
    replaced = {_name(one) for one in extra} & _REPLACED
    arguments = [one for one in usual.split() if _name(one) not in replaced]
    for one in extra:
        negated = one[1:] if len(_name(one)) > 1 and one.startswith("-") else ""
        if not negated:
            arguments.append(one)
        elif negated.partition("=")[2]:
            arguments = [other for other in arguments if other != negated]
        else:
            arguments = [other for other in arguments if _name(other) != _name(negated)]
    return " ".join(arguments)


def _name(argument: str) -> str:
    return argument.partition("=")[0]


def check(text: str, path: Path) -> None:
    """Refuse what no image can be made of.

    :param text: of a schematic that has an id.
    :raises InventoryError: with file and line, for all of it at once.
    """
    if wrong := [*_wrong_extensions(text, path), *_wrong_enrolling(text, path)]:
        raise InventoryError(
            "\n".join(wrong),
            hint="An extension is named by its image without a version, e.g. "
            "siderolabs/qemu-guest-agent.\n"
            "The Image Factory takes such a schematic, and makes no image of it.",
        )


def check_secure_boot(text: str, path: Path, node: str, setting: str, *, secure_boot: bool) -> None:
    """Refuse a schematic that is made for the other way to boot.

    :param node: whose images it is for, for messages.
    :param setting: where ``TALOS_SECURE_BOOT`` is, or would be, given.
    :raises InventoryError: with file and line.
    """
    if secure_boot and lookup(_parsed(text), *_BOOTLOADER) == "grub":
        raise InventoryError(
            f"{_place(text, path, _BOOTLOADER)}: customization.bootloader: images of secure boot "
            f"have no grub, and {node} gets these",
            hint=f"Remove the line, or TALOS_SECURE_BOOT=true ({setting}).",
        )
    if not secure_boot and lookup(_parsed(text), *_SECURE_BOOT):
        raise InventoryError(
            f"{_place(text, path, _SECURE_BOOT)}: customization.secureboot is for images of secure "
            f"boot, and {node} gets others",
            hint=f"Write TALOS_SECURE_BOOT=true into {setting}, or remove what is said of it in "
            f"{path.name}.",
        )


def _wrong_extensions(text: str, path: Path) -> Iterator[str]:
    seen: set[str] = set()
    for index, name in enumerate(extensions(text)):
        where = f"{_place(text, path, (*_EXTENSIONS, index))}: {'.'.join(_EXTENSIONS)}"
        if not _EXTENSION.fullmatch(name):
            yield f"{where}: {name!r} is no name of an extension"
        elif name in seen:
            yield f"{where}: {name} is named twice"
        seen.add(name)


def _wrong_enrolling(text: str, path: Path) -> Iterator[str]:
    way = lookup(_parsed(text), *_ENROLL)
    if way and way not in _ENROLLED:
        yield (
            f"{_place(text, path, _ENROLL)}: {'.'.join(_ENROLL)}: {way!r}: must be one of "
            f"{', '.join(_ENROLLED)}"
        )


def _parsed(text: str) -> Any:
    # Values as text: YAML 1.1 has `off` for false, the factory's YAML 1.2 has not.
    return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but text


def _place(text: str, path: Path, keys: tuple[str | int, ...]) -> str:
    found = positions.of(text).get((0, keys))
    return f"{path}:{found.line}" if found else str(path)
