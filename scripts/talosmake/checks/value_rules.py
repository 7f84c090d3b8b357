"""Lint rules about single values in a node's patches (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from talosmake.base.tools import numbers
from talosmake.base.yamls import lookup
from talosmake.checks.finding import Entry, Finding, NodeView, at, leaves
from talosmake.inventory.model import Role
from talosmake.patches import layout, placeholders
from talosmake.patches.positions import Keys
from talosmake.render.hints import DELETE_ITEM

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+)")
# Documents that Talos acts on where etcd runs, and nowhere else
# (Talos docs: Virtual (shared) IP).
_CONTROL_PLANE_KINDS = {"Layer2VIPConfig", "HCloudVIPConfig"} | layout.READ_ON_CONTROL_PLANES
# A disk by its path in an expression (CEL): disk.dev_path == "/dev/sda".
_DEV_PATH = re.compile(r"\bdev_path\s*==\s*([\"'])(?P<path>.*?)\1")
# How null is written, as the loader of patches shows it.
_NULLS = ("", "~", "null", "Null", "NULL")
_DELETE_KEY = "To remove what Talos or an earlier layer sets:  {key}: {{$patch: delete}}"


def disk_path(view: NodeView) -> Iterator[Finding]:
    """A disk is named by something else than a path below /dev."""
    for entry in view.entries:
        for keys, value in _disks(entry):
            if value and value not in _NULLS and not re.match(r"/dev/[^/]", value):
                yield Finding(
                    entry.where(*keys),
                    f"{entry.label(keys)}: {entry.shown(keys, value)} is no path of a disk",
                    "Write the path of the device, e.g. /dev/sda or /dev/disk/by-id/...; "
                    "'talosctl get disks' lists a machine's.",
                )


def _disks(entry: Entry) -> Iterator[tuple[Keys, str]]:
    """The disks that a document names by their paths, volumes' own included."""
    kind = entry.identity[0]
    for keys, value in layout.found(entry.content, layout.INSTALL_DISK):
        if not kind:
            yield keys, str(value)
    selector: Keys = ("provisioning", "diskSelector", "match")
    for match in _DEV_PATH.finditer(str(at(entry.content, selector) or "")):
        yield selector, match["path"]
    more = None if kind else lookup(entry.content, "machine", "disks")
    for index, disk in enumerate(more if isinstance(more, list) else ()):
        yield ("machine", "disks", index, "device"), str(lookup(disk, "device") or "")


def disk_not_given(view: NodeView) -> Iterator[Finding]:
    """No patch names the disk to install to, so it is the default, /dev/sda."""
    given = (layout.INSTALL_DISK, layout.INSTALL_SELECTOR)
    for entry in view.entries:
        if any(value for _, value in layout.found(entry.content, *given)):
            return
    contract = view.environment.cluster.contract
    how = layout.INSTALL_DISK.label(contract)
    how += " (or diskSelector)" if contract < layout.DOCUMENTS else ""
    yield Finding(
        str(view.environment.directory),
        "no patch names the disk to install Talos on, so it is the default, /dev/sda",
        f"Set {how}, e.g. in {view.environment.directory / 'common.yaml'}; naming /dev/sda there "
        "is fine.",
    )


def host_name(view: NodeView) -> Iterator[Finding]:
    """A host name is none."""
    for entry in view.entries:
        for keys, value in layout.found(entry.content, layout.HOSTNAME):
            if value and not _is_host_name(str(value)):
                yield Finding(
                    entry.where(*keys),
                    f"{entry.label(keys)}: {entry.shown(keys, value)} is no host name",
                    "Use letters, digits and - in between, 63 characters at most between dots. "
                    "Kubernetes names the node by it.",
                )


def _is_host_name(name: str) -> bool:
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def kubernetes_image(view: NodeView) -> Iterator[Finding]:
    """An image of Kubernetes has another version than KUBERNETES_VERSION."""
    wanted = view.environment.cluster.kubernetes_version
    for entry in view.entries:
        yield from _images(view, entry, layout.KUBERNETES_IMAGES, "KUBERNETES_VERSION", wanted)


def installer_image(view: NodeView) -> Iterator[Finding]:
    """The installer's image has another version than TALOS_VERSION."""
    wanted = view.environment.cluster.talos_version.removeprefix("v")
    for entry in view.entries:
        yield from _images(view, entry, [layout.INSTALL_IMAGE], "TALOS_VERSION", wanted)


def _images(
    view: NodeView, entry: Entry, settings: Sequence[layout.Setting], fact: str, wanted: str
) -> Iterator[Finding]:
    bare = not view.environment.facts.get(fact, "").startswith("v")
    for keys, value in layout.found(entry.content, *settings):
        image = str(value)
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        version = _VERSION.match(tag)
        if version and tag.removeprefix("v") != wanted and version[1] != wanted:
            yield Finding(
                entry.where(*keys),
                f"{entry.label(keys)}: {entry.shown(keys, image)} is not of "
                f"{fact}={view.environment.facts.get(fact)}",
                f"Leave the image out, or write its tag as {'v' * bare}${{{fact}}}; "
                f"the version stands in {view.environment.env_file}.",
            )


def kernel_arguments(view: NodeView) -> Iterator[Finding]:
    """Kernel arguments for a machine that takes those of its image (a UKI)."""
    why = _boots_a_uki(view)
    for entry in view.entries:
        for keys, value in layout.found(entry.content, layout.KERNEL_ARGUMENTS):
            if why and value:
                yield Finding(
                    entry.where(*keys),
                    f"{entry.label(keys)}: is not used, because {why}, so that Talos takes the "
                    "kernel's arguments from its image",
                    "Move them into a schematic, customization.extraKernelArgs, named by "
                    f"TALOS_SCHEMATIC in {view.environment.env_file} (docs/vms.md, Schematics).",
                )


def _boots_a_uki(view: NodeView) -> str:
    """Why a machine boots by systemd-boot from a UKI; "" where that is not known."""
    image = layout.value(view.config.values(), layout.INSTALL_IMAGE)
    if "-secureboot/" in str(image):
        return "the installer is one for secure boot"
    firmware = view.node.facts.get("VM_FIRMWARE", "efi")
    # Talos's release notes of 1.10: systemd-boot on all UEFI machines that are newly installed.
    newer = numbers(view.environment.cluster.talos_version)[:2] >= (1, 10)
    if view.environment.vms and firmware == "efi" and newer:
        return "the virtual machine boots by UEFI"
    return ""


def control_plane_settings(view: NodeView) -> Iterator[Finding]:
    """What only control planes have reaches a worker by a layer that both roles share."""
    if view.node.role is not Role.WORKER:
        return
    to = view.environment.directory / Role.CONTROLPLANE.directory / "common.yaml"
    for entry in view.entries:
        keys: list[tuple[str, ...]] = [
            ("cluster", key)
            for key in layout.CONTROL_PLANE_ONLY
            if lookup(entry.content, "cluster", key) not in (None, *_NULLS)
        ]
        keys += [("machine", "controlPlane")] * bool(
            lookup(entry.content, "machine", "controlPlane")
        )
        keys += [("kind",)] * (entry.identity[0] in _CONTROL_PLANE_KINDS)
        for way in keys:
            name = entry.label(() if way == ("kind",) else way)
            yield Finding(
                entry.where(*way),
                f"{name}: only control planes have this, and it reaches workers",
                f"Move it to {to}.",
            )


def null_value(view: NodeView) -> Iterator[Finding]:
    """A null: Talos ignores most, and some blank or crash what they stand for."""
    for entry in view.entries:
        for keys, value in leaves(entry.content):
            if value not in _NULLS:
                continue
            position = entry.position(*keys)
            if position is not None and position.null:
                inside = any(isinstance(key, int) for key in keys)
                yield Finding(
                    entry.where(*keys),
                    f"{entry.label(keys)}: is null, which removes nothing: Talos ignores it, or "
                    "takes null for the value",
                    'Write a value ("" for an empty text), or leave it out. '
                    + (DELETE_ITEM if inside else _DELETE_KEY.format(key=keys[-1])),
                )


def placeholder(view: NodeView) -> Iterator[Finding]:
    """What a shell or a template would replace, and nothing does here."""
    for entry in view.entries:
        # Of an encrypted patch nothing may be shown, and a password may look like it.
        found = () if entry.layer.patch.secret else entry.content
        for keys, one in placeholders.in_document(found, view.node.facts) if found else ():
            yield Finding(
                entry.where(*keys),
                f"{entry.label(keys)}: {entry.shown(keys, one.written)} is not replaced, and "
                "is taken as it is",
                placeholders.advice(one),
            )


def talosctl_warning(view: NodeView) -> Iterator[Finding]:
    """``talosctl validate`` accepts the config with a warning."""
    for line in view.warnings.splitlines():
        if text := line.strip(" *\t"):
            yield Finding(
                str(view.environment.directory),
                f"talosctl validate warns: {text}",
                "The documentation of this Talos version says what to write instead.",
            )
