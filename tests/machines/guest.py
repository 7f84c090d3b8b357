"""A tiny guest of Debian's kernel and busybox: it says which address it got by DHCP."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# In the order in which they need each other; some are built in, in some kernels.
_MODULES = (
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
_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox ip link set eth0 up
/bin/busybox acpid -f -c /acpi -l /dev/null &
/bin/udhcpc -f -R -i eth0 -t 50 -T 1 -s /got
/bin/busybox poweroff -f
"""
# What the power button does: the address is given back, and the machine switches itself off.
_POWER = """\
#!/bin/busybox sh
/bin/busybox killall udhcpc
"""
_GOT = """\
#!/bin/busybox sh
if [ "$1" = bound ]; then
  /bin/busybox ip address add "$ip/$mask" dev eth0
  echo "guest: address $ip name $hostname domain $domain router $router"
fi
"""


def kernel_directory() -> Path | None:
    """Where set-up unpacked the kernel; None when it did not."""
    cache = os.environ.get("TALOSMAKE_CACHE") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "talosmake"
    )
    found = sorted(Path(cache).glob("kernel/*/vmlinuz"))
    return found[-1].parent if found else None


def build(kernel: Path, target: Path) -> tuple[Path, Path]:
    """Make kernel and initramfs below ``target``.

    :param kernel: a directory with vmlinuz and modules/.
    """
    root = target / "root"
    for name in ("bin", "proc", "sys", "dev", "modules", "acpi/PWRF"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    # killall looks for it by this name.
    (root / "bin/udhcpc").symlink_to("busybox")
    there = [name for name in _MODULES if (kernel / f"modules/{name}.ko").exists()]
    for name in there:
        shutil.copy(kernel / f"modules/{name}.ko", root / "modules")
    scripts = {
        "init": _INIT.format(modules=" ".join(there)),
        "got": _GOT,
        "acpi/PWRF/00000080": _POWER,
    }
    for name, text in scripts.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    files = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (target / "initramfs").open("wb") as output:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            cwd=root,
            input=files.encode(),
            stdout=output,
            check=True,
        )
    shutil.rmtree(root)
    shutil.copy(kernel / "vmlinuz", target / "vmlinuz")
    return target / "vmlinuz", target / "initramfs"
