"""Which environment the demo brings up."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from talosmake_setup.decide import apt_command
from talosmake_setup.steps import VENV, SetupError, say, which


def demo_environment(choice: str, *, qemu: bool, memory: int) -> tuple[str, str]:
    """The environment of the demo, with real nodes or simulated ones, and why.

    :param choice: what the variable ``DEMO`` says: real, simulated, or nothing.
    :param qemu: whether QEMU is there or can be installed.
    :param memory: what the machine has left, in MiB.
    :raises SetupError: for another choice.
    """
    if choice not in ("", "real", "simulated"):
        raise SetupError(f"DEMO={choice}: it is real or simulated, or left out")
    if choice == "simulated":
        return "demo", "simulated nodes, as DEMO says"
    if choice == "real":
        return "demo-real", "real Talos nodes in QEMU, as DEMO says"
    if not qemu:
        return "demo", "simulated nodes, because there is no QEMU (DEMO=real insists)"
    if memory < DEMO_MEMORY:
        short = f"{memory} of {DEMO_MEMORY} MiB of memory"
        return "demo", f"simulated nodes, because there are only {short} (DEMO=real insists)"
    return "demo-real", "real Talos nodes in QEMU (DEMO=simulated: quicker, simulated ones)"


# For two real nodes and what talks to them, in MiB.
DEMO_MEMORY = 3072


def choose_demo() -> str:
    """The environment of the demo; also written to .venv/share/demo, for make."""
    apt = which("apt-get") and apt_command([], root=os.geteuid() == 0, sudo=bool(which("sudo")))
    name, why = demo_environment(
        os.environ.get("DEMO", ""),
        qemu=bool(which("qemu-system-x86_64") or apt),
        memory=available_memory(),
    )
    say(f"the demo has {why}")
    (VENV / "share").mkdir(exist_ok=True)
    (VENV / "share/demo").write_text(f"{name}\n")
    return name


def available_memory() -> int:
    """What the machine has left, in MiB; 0 where nobody says."""
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found[1]) // 1024 if found else 0
    return 0
