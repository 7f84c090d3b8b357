"""The one module that starts and stops QEMU: a lab of real Talos nodes on this machine.

Talos's own machined runs in each of them, in Talos's container mode and without KVM: what it says
is what Talos says. What they boot from is built by set-up (tools/talos-node).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from talosmake.base import files, marker
from talosmake.base.errors import NodeError, ToolError
from talosmake.base.process import daemon_environment, run
from talosmake.base.program import set_up
from talosmake.base.progress import say
from talosmake.base.this_run import Memo
from talosmake.base.wait import Wait
from talosmake.inventory.model import Environment, Node
from talosmake.machines import daemon, occupied

STATE = Path(".lab")
# Where set-up puts a link to the images in its cache.
GUEST = Path(sys.prefix) / "share/talos-node"
# Memory of a node, in MiB, and its disk, which is sparse, in bytes.
_MEMORY = 1024
_DISK = 4 * 1024**3
# What Talos needs (x86-64-v2), and no more: newer instructions are slow to emulate.
_CPU = "Nehalem"
_STOP_TIMEOUT = 20.0
_BOOT_TIMEOUT = 90.0
_BOOT_TRIES = 3
# Where nodes find the registry that answers for all they pull (see the patches of the lab).
_REGISTRY = "10.0.2.100:80"

_revisions: Memo[Path, int] = Memo("the number of a job that powers nodes on, by its marker")


def state_directory(environment: Environment, node: Node | None = None) -> Path:
    """Where the nodes of a lab keep their disks and console logs."""
    directory = STATE / environment.name
    return directory / node.name if node else directory


def ready_file(environment: Environment) -> Path:
    """There once all nodes were started."""
    return state_directory(environment) / "ready"


def nodes_digest(environment: Environment) -> str:
    """Changes when a node is added or the way one is started changes."""
    commands = [shlex.join(command(environment, node)) for node in environment.nodes]
    return hashlib.sha256("\n".join(commands).encode()).hexdigest()


def revision(environment: Environment) -> int:
    """A number to be kept as a parameter of the job that powers nodes on; found once a run.

    :func:`ready_file` says which number it was made with. It stays while all nodes run; else it is
    the next one, and Snakemake runs the job again.
    """
    path = ready_file(environment)
    return _revisions.of(path, lambda: _revision(environment, path))


def _revision(environment: Environment, path: Path) -> int:
    on = all(running(environment, node) for node in environment.nodes)
    return marker.revision(path) + (0 if on else 1)


def running(environment: Environment, node: Node) -> bool:
    """Whether a node is powered on: QEMU holds a lock as long as it lives."""
    try:
        with (state_directory(environment, node) / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def start(environment: Environment, number: int) -> None:
    """Power on all nodes that are off.

    :param number: from :func:`revision`.
    :raises ToolError: when QEMU or what the nodes boot from is missing.
    :raises NodeError: when a node does not start.
    """
    if not (GUEST / "vmlinuz").exists():
        raise ToolError(
            f"{environment.name}: what real Talos nodes boot from is not built",
            hint=f"Run: {set_up('lab')}",
        )
    off = [node for node in environment.nodes if not running(environment, node)]
    occupied.check(environment.name, [node.endpoint for node in off])
    for node in off:
        power_on(environment, node)
    for node in off:
        _wait_for_boot(environment, node)
    say(
        f"{environment.name}: {len(environment.nodes)} real Talos nodes run in QEMU without KVM "
        f"(consoles: {state_directory(environment)}/*/console.log; stop them: "
        f"snakemake lab_stop --config env={environment.name})"
    )
    marker.write(ready_file(environment), step="powered on", revision=number)


def _wait_for_boot(environment: Environment, node: Node) -> None:
    """Wait until the node says something; one that hangs is powered off and on again.

    Without KVM a kernel now and then stops before its first line, and its processor spins.
    """
    console = state_directory(environment, node) / "console.log"
    who = f"{environment.name}/{node.name}"
    for left in range(_BOOT_TRIES - 1, -1, -1):
        try:
            for _ in Wait(who, "its first line on the console", _BOOT_TIMEOUT):
                if console.stat().st_size:
                    return
        except NodeError:
            if not left:
                raise
            say(f"{who}: does not boot, powering it off and on again")
            power_off(environment, node)
            power_on(environment, node)


def power_on(environment: Environment, node: Node) -> None:
    """Start QEMU for a node, with the disk it had."""
    directory = state_directory(environment, node)
    files.private_directory(STATE)
    files.output_directory(directory.parent)
    files.private_directory(directory)
    _ensure_disk(directory / "disk.raw")
    (directory / "console.log").unlink(missing_ok=True)  # the one of the last time
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with (directory / "qemu.log").open("wb") as log:
            # The lock goes on to QEMU; a session of its own, as Ctrl-C must not end the nodes.
            process = subprocess.Popen(
                command(environment, node),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                # The registry, which QEMU starts, gets it from there.
                env=daemon_environment(),
                start_new_session=True,
            )
    finally:
        os.close(lock)
    daemon.wait_until_started(
        f"{environment.name}/{node.name}",
        "QEMU",
        process,
        (directory / "console.log").exists,
        directory / "qemu.log",
    )


def _ensure_disk(path: Path) -> None:
    """An empty ext4 file system; a half-made one is made again."""
    if path.exists():
        return
    with files.temporary(path) as disk:
        disk.file.truncate(_DISK)
        made = run(["mkfs.ext4", "-q", "-F", str(disk.path)])
        if not made.ok:
            raise ToolError(
                f"{path}: mkfs.ext4 makes no file system there: {made.stderr.strip()}",
                hint="Make room there (df shows what is left), then run the same command again.",
            )
        # Never over another run's, which a node may have started with meanwhile.
        with contextlib.suppress(FileExistsError):
            os.link(disk.path, path)


def command(environment: Environment, node: Node) -> list[str]:
    """The QEMU command of a node.

    One processor: with more, a kernel that waits for a lock of another one's may spin for minutes
    where the machine has not as many to spare.

    Two network interfaces: one for this machine to reach the node, with the Talos and the
    Kubernetes API forwarded from its loopback address, and one for the nodes to reach each other.
    """
    directory = state_directory(environment, node)
    # QEMU takes it apart as a shell would, after the options.
    program = (sys.executable, str(Path(__file__).parent / "lab_registry.py"), f"{GUEST}/images")
    registry = _value(shlex.join(program))
    forwarded = ",".join(f"hostfwd=tcp:{node.endpoint}:{port}-:{port}" for port in (50000, 6443))
    image = f"file={_value(GUEST / 'image.squashfs')},format=raw,if=virtio,readonly=on"
    return [
        "qemu-system-x86_64",
        *("-name", f"{environment.name}-{node.name}", "-nodefaults", "-no-user-config"),
        *("-machine", "q35", "-accel", "tcg", "-cpu", _CPU),
        *("-smp", "1", "-m", str(_MEMORY), "-display", "none", "-no-reboot"),
        *("-serial", f"file:{directory / 'console.log'}"),
        *("-pidfile", str(directory / "pid")),
        *("-kernel", str(GUEST / "vmlinuz"), "-initrd", str(GUEST / "initramfs")),
        *("-append", _kernel_arguments(node)),
        *("-drive", image),
        *("-drive", f"file={_value(directory / 'disk.raw')},format=raw,if=virtio,cache=unsafe"),
        *("-netdev", f"user,id=outer,{forwarded},guestfwd=tcp:{_REGISTRY}-cmd:{registry}"),
        *("-device", f"virtio-net-pci,netdev=outer,mac={node.mac}"),
        *("-netdev", f"socket,id=inner,mcast={_group(environment)},localaddr=127.0.0.1"),
        *("-device", f"virtio-net-pci,netdev=inner,mac={_inner_mac(node)}"),
    ]


def _value(text: Path | str) -> str:
    """A value among QEMU's options, where a comma ends it and a doubled one is a comma."""
    return str(text).replace(",", ",,")


def _kernel_arguments(node: Node) -> str:
    prefix = ipaddress.ip_network(node.facts["NETWORK"]).prefixlen
    return (
        "console=ttyS0 quiet panic=1 mitigations=off audit=0 "
        f"talosmake.address={node.address}/{prefix} talosmake.hostname={node.hostname}"
    )


def _group(environment: Environment) -> str:
    """The multicast group that carries this lab's network: from an address only it has."""
    _, *rest = environment.first_control_plane.endpoint.split(".")
    return f"239.{'.'.join(rest)}:10500"


def _inner_mac(node: Node) -> str:
    return "52:54:01:" + ":".join(node.mac.split(":")[3:])


def stop(environment: Environment) -> None:
    """Power off all nodes; their disks stay."""
    for node in environment.nodes:
        power_off(environment, node)
    ready_file(environment).unlink(missing_ok=True)
    say(f"{environment.name}: the real Talos nodes are powered off")


def power_off(environment: Environment, node: Node) -> None:
    """End a node as power failure would."""
    if not running(environment, node):
        return
    pid = int((state_directory(environment, node) / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    who = f"{environment.name}/{node.name}"
    for _ in Wait(who, "QEMU to end", _STOP_TIMEOUT):
        if not running(environment, node):
            return
