"""What real Talos nodes boot from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from talosmake_setup.debian import apt_install
from talosmake_setup.decide import digest
from talosmake_setup.programs import ensure_built, home_of
from talosmake_setup.registry import Tool, registry
from talosmake_setup.steps import (
    BIN,
    ROOT,
    VENV,
    Step,
    cache_directory,
    log_file,
    make_once,
    say,
    which,
)

GUEST_FILES = ("vmlinuz", "initramfs", "image.squashfs", "images")


def ensure_guest(tools: Sequence[Tool]) -> None:
    """What real Talos nodes boot from, as .venv/share/talos-node.

    :param tools: what runs in them.
    """
    needed = {"qemu-system-x86_64": "qemu-system-x86", "mksquashfs": "squashfs-tools"}
    missing = [package for program, package in needed.items() if which(program) is None]
    if missing:
        apt_install(missing, "for real Talos nodes in QEMU")
    builder = ROOT / "tools/talos-node"
    parts = [builder / name for name in ("guest.py", "init", "start")]
    homes = [ensure_built(tool) for tool in tools]
    _, version = home_of(registry()["machined"])
    name = digest([*(path.read_bytes() for path in parts), *(bytes(home) for home in homes)])
    home = cache_directory(os.environ) / "guests" / f"{version}-{name}"
    make_once(home, GUEST_FILES, lambda temporary: _make_guest(builder, homes, version, temporary))
    link = VENV / "share/talos-node"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink() or link.readlink() != home:
        link.unlink(missing_ok=True)
        link.symlink_to(home)
        say(f".venv/share/talos-node is {home}")


def _make_guest(builder: Path, homes: Sequence[Path], version: str, target: Path) -> None:
    log = log_file(f"talos-node-{version}")
    say(f"making what real Talos nodes boot from; log: {log}")
    programs = [part for home in homes for part in ("--programs", str(home))]
    command = [str(BIN / "python"), str(builder / "guest.py"), str(target), *programs]
    Step("talos-node", log, "about 20 s").run([*command, "--version", version])
