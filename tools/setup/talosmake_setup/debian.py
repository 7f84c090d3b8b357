"""Debian packages, and a kernel for the tests' guests."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from talosmake_setup.decide import apt_command, digest, lacks_candidate, update_command
from talosmake_setup.steps import (
    SetupError,
    Step,
    cache_directory,
    log_file,
    make_once,
    output_of,
    say,
    which,
)


def apt_install(packages: Sequence[str], why: str) -> None:
    """Install Debian packages.

    :raises SetupError: where that is not possible, naming them.
    """
    named = " ".join(packages)
    if which("apt-get") is None:
        raise SetupError(f"missing {why}: install what Debian calls {named}, and run this again")
    by_hand = f"sudo apt-get update && sudo apt-get install {named}"
    command = apt_command(packages, root=os.geteuid() == 0, sudo=which("sudo") is not None)
    if command is None:
        raise SetupError(f"missing {why}: run\n  {by_hand}\nand then this again")
    say(f"installing Debian packages {why}: {named}")
    try:
        _apt(command, packages)
    except SetupError as error:
        raise SetupError(f"{error}\nTo install {named} by hand:\n  {by_hand}") from None


def _apt(command: Sequence[str], packages: Sequence[str]) -> None:
    install = Step("apt-get install", log_file("apt"), patient=True)
    update = Step("apt-get update", log_file("apt"), patient=True)
    if not lacks_candidate(output_of(["apt-cache", "policy", package]) for package in packages):
        with contextlib.suppress(SetupError):
            return install.run(command)
        # An old package list names versions that are no longer served.
    update.run(update_command(command))
    return install.run(command)


# What tests with virtual machines need, by a file that says that it is there: a libvirt with QEMU;
# without what these recommend, no service starts.
VM_PACKAGES = {
    "/usr/sbin/libvirtd": "libvirt-daemon",
    "/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
    "/usr/bin/virsh": "libvirt-clients",
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/bin/qemu-img": "qemu-utils",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/sbin/iptables": "iptables",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/bin/busybox": "busybox-static",
    "/usr/bin/cpio": "cpio",
    "/sbin/ip": "iproute2",
}
# The kernel of the tests' guests: it is unpacked, not installed.
KERNEL = "linux-image-cloud-amd64"
KERNEL_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "evdev",
    "button",
)


def missing_vm_packages(there: Callable[[str], bool]) -> list[str]:
    """The Debian packages that tests with virtual machines lack.

    :param there: whether a file is there that matches a pattern.
    """
    return [package for file, package in VM_PACKAGES.items() if not there(file)]


def ensure_test_packages() -> None:
    """What the tests need beside Python packages."""
    # Each is a program and its package.
    needed = ("shellcheck", "git", "fish", "zsh")
    missing = [name for name in needed if which(name) is None]
    if missing:
        apt_install(missing, "for the tests")
    try:
        if which("chromium") is None:  # Ubuntu has no package of it
            apt_install(["chromium"], "for tests with a browser")
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without tests with a browser")
    try:
        missing = missing_vm_packages(lambda file: any(Path("/").glob(file.lstrip("/"))))
        if missing:
            apt_install(missing, "for tests with virtual machines")
        ensure_kernel()
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without tests with virtual machines")


def ensure_kernel() -> None:
    """Unpack the kernel for the tests' guests into the cache."""
    found = _kernel_package()
    if found is None and which("apt-get") is not None:
        # There may be no package lists at all, as in a fresh container.
        command = apt_command([KERNEL], root=os.geteuid() == 0, sudo=which("sudo") is not None)
        with contextlib.suppress(SetupError):
            if command is not None:
                Step("apt-get update", log_file("apt"), patient=True).run(update_command(command))
        found = _kernel_package()
    if found is None:
        say(f"warning: apt-get knows no {KERNEL}; tests of virtual machines will be skipped")
        return
    package = found
    home = cache_directory(os.environ) / "kernel"
    home /= f"{package}-{digest([' '.join(KERNEL_MODULES).encode()])}"
    make_once(home, ["vmlinuz", "modules"], lambda temporary: _unpack_kernel(package, temporary))


def _kernel_package() -> str | None:
    """The package with the newest kernel, as far as apt knows."""
    told = output_of(["apt-cache", "depends", KERNEL])
    found = re.search(r"Depends: (linux-image-\S+)", told)
    return found[1] if found else None


def _unpack_kernel(package: str, home: Path) -> None:
    say(f"fetching a kernel for the tests' guests: {package}")
    download, unpacked = home / "download", home / "unpacked"
    download.mkdir()
    log = log_file("apt")
    Step("apt-get download", log).run(["apt-get", "download", "-q", package], cwd=download)
    [archive] = download.glob("*.deb")
    Step("dpkg-deb -x", log).run(["dpkg-deb", "-x", str(archive), str(unpacked)])
    [kernel] = unpacked.glob("boot/vmlinuz-*")
    kernel.rename(home / "vmlinuz")
    (home / "modules").mkdir()
    for name in KERNEL_MODULES:
        for module in unpacked.glob(f"lib/modules/*/kernel/**/{name}.ko"):
            module.rename(home / "modules" / module.name)
    shutil.rmtree(download)
    shutil.rmtree(unpacked)
