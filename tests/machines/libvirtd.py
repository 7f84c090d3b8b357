"""A real libvirtd with QEMU, in namespaces, directories and with a socket of its own.

Nothing of the machine's own libvirt is seen or touched, and nothing stays behind: all that runs in
it ends with its first process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "/usr/sbin/libvirtd": "libvirt-daemon",
    "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so": (
        "libvirt-daemon-driver-qemu"
    ),
    "/usr/bin/virsh": "libvirt-clients",
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/bin/qemu-img": "qemu-utils",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/sbin/iptables": "iptables",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/bin/busybox": "busybox-static",
    "/usr/bin/cpio": "cpio",
    "/usr/bin/unshare": "util-linux",
    "/usr/sbin/ip": "iproute2",
}
_DIRECTORIES = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "run": "/run/libvirt",
}
# No security driver, no cgroups, no namespaces of its own: what a container can give.
_QEMU_CONF = """\
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
dynamic_ownership = 0
remember_owner = 0
user = "root"
group = "root"
"""
_LIBVIRTD_CONF = """\
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_dir = "/run/libvirt"
"""
_ACCOUNTS = {
    "passwd": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n",
    "group": "libvirt-qemu:x:64055:\n",
}


def missing_packages() -> list[str]:
    """The Debian packages without which none of this runs."""
    return sorted({package for path, package in PACKAGES.items() if not Path(path).exists()})


@dataclass(frozen=True)
class Libvirtd:
    """A running libvirtd.

    :ivar root: its directories: etc, lib, cache, log and run.
    :ivar init: the process to which its namespaces belong, seen from outside.
    """

    root: Path
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.root}/run/libvirt-sock"

    @property
    def init(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(children.split()[0])

    def inside(self, *argv: str) -> str:
        """Run a command in its namespaces; returns what it prints."""
        target = ["nsenter", "-t", str(self.init), "-n", "-m", "-p"]
        done = subprocess.run([*target, *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def virsh(self, *arguments: str) -> str:
        """Do as a person with virsh would; returns what it prints."""
        command = ["virsh", "-q", "-c", self.uri, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def leases(self, network: str) -> dict[str, str]:
        """The addresses that machines were given, by MAC address."""
        rows = (line.split() for line in self.virsh("net-dhcp-leases", network).splitlines())
        return {row[2]: row[4].split("/")[0] for row in rows if len(row) > 4}

    def console(self, domain: str) -> str:
        path = self.root / f"log/qemu/{domain}-console.log"
        return path.read_text(errors="replace") if path.exists() else ""


@contextlib.contextmanager
def running() -> Iterator[Libvirtd]:
    """Start a libvirtd; at the end it and all its guests are gone."""
    # A short path: a socket's may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="tm-", dir="/tmp"))
    for name in _DIRECTORIES:
        (root / name).mkdir()
    (root / "log/qemu").mkdir()
    (root / "etc/qemu.conf").write_text(_QEMU_CONF)
    (root / "etc/libvirtd.conf").write_text(_LIBVIRTD_CONF)
    for name, line in _ACCOUNTS.items():
        # libvirtd insists on this user, which another package makes.
        known = Path(f"/etc/{name}").read_text()
        (root / name).write_text(known + ("" if "\nlibvirt-qemu:" in known else line))
    (root / "start").write_text(_script(root))
    command = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"]
    command += ["--propagation", "private", "bash", str(root / "start")]
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    libvirtd = Libvirtd(root, process)
    try:
        _wait(libvirtd)
        yield libvirtd
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(root, ignore_errors=True)


def _script(root: Path) -> str:
    """What the first process of the namespaces does."""
    binds = "\n".join(
        f"mkdir -p {place} && mount --bind {root}/{name} {place}"
        for name, place in _DIRECTORIES.items()
    )
    # bash stays the first process: libvirtd would take children for its own that are not.
    return f"""\
set -eu
{binds}
mount --bind {root}/passwd /etc/passwd
mount --bind {root}/group /etc/group
mount -t sysfs sysfs /sys
ip link set lo up
/usr/sbin/libvirtd --pid-file /run/libvirt/libvirtd.pid &
wait
"""


def _wait(libvirtd: Libvirtd, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    command = ["virsh", "-c", libvirtd.uri, "version"]
    while subprocess.run(command, capture_output=True, check=False).returncode:
        told = (libvirtd.root / "output").read_text(errors="replace")
        assert libvirtd.process.poll() is None, f"libvirtd does not start: {told}"
        assert time.monotonic() < end, f"libvirtd takes too long: {told}"
        time.sleep(0.05)


def is_root() -> bool:
    """Whether this user may make namespaces and mount in them."""
    return os.geteuid() == 0
