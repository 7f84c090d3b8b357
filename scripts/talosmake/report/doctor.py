"""Doctor: what is missing on this machine for an environment, and the command that fixes it.

Nothing is changed, and nothing secret is shown.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

from talosmake.base import talosctls, tools
from talosmake.base.errors import NodeError, TalosmakeError
from talosmake.base.process import find
from talosmake.base.program import set_up
from talosmake.inventory import lifetimes
from talosmake.inventory.access import Access
from talosmake.inventory.machines import Accelerator, Vm
from talosmake.inventory.model import Environment, Node
from talosmake.machines import lab, session
from talosmake.render import credentials
from talosmake.report.check import Check, Verdict, failed, ok
from talosmake.report.hook import repository
from talosmake.rollout import kubeconfig
from talosmake.secrets import bundles
from talosmake.talos import client_certificates
from talosmake.talos.observe import State, observe

_AT_ONCE = 16
# Less free space than this is worth a word, in GiB; a lab's nodes need more each.
_LITTLE_SPACE = 2
KVM = Path("/dev/kvm")


def programs(environments: Sequence[Environment]) -> Iterator[Check]:
    """Python, Snakemake and the pinned tools."""
    yield ok(f"Python {platform.python_version()}, Snakemake {version('snakemake')}")
    wanted = {one.cluster.talosctl for one in environments} or {talosctls.default()}
    for talosctl in sorted(wanted, key=tools.numbers):
        yield _fits("talosctl", talosctl, partial(talosctls.require, talosctl))
    needed = [tools.SOPS, tools.AGE, tools.AGE_KEYGEN]
    if any(one.cilium and one.cilium.install == "helm" for one in environments):
        needed.append(tools.HELM)
    for tool in needed:
        yield _fits(tool.name, tool.pinned, partial(tools.require, tool))


def _fits(name: str, pinned: str, require: Callable[[], str]) -> Check:
    try:
        return ok(f"{name} fits {pinned}: {require()}")
    except TalosmakeError as error:
        return Check(Verdict.MISSING, error.message, error.hint or f"Run: {set_up()}")


def disk_space(directory: Path) -> Check:
    """Free space where the project is."""
    free = shutil.disk_usage(directory).free / 1024**3
    if free < _LITTLE_SPACE:
        return Check(
            Verdict.WARNING,
            f"only {free:.1f} GiB of disk space are free here",
            "du -xsh * .[!.]* | sort -h   (shows what takes it; logs/ and .lab/ can be removed)",
        )
    return ok(f"{free:.0f} GiB of disk space are free here")


def keys(environment: Environment) -> Iterator[Check]:
    """Whether bundle and encrypted patches can be decrypted here."""
    if environment.cluster.throwaway and not environment.bundle.exists():
        yield ok(f"{environment.name}: its throw-away secrets are made when they are needed")
        return
    encrypted = {
        path
        for node in environment.nodes
        for path in node.patches
        if path.name.endswith(".sops.yaml")
    }
    try:
        bundles.bundle_of(environment)
        key = bundles.key_file(environment)
        for path in sorted(encrypted):
            bundles.plaintext_of(path, key)
    except TalosmakeError as error:
        yield failed(error)
        return
    patches = f" and {len(encrypted)} encrypted patches" if encrypted else ""
    yield ok(f"{environment.name}: {environment.bundle}{patches} can be decrypted")
    yield from private(environment)


def private(environment: Environment) -> Iterator[Check]:
    """Files with secrets that others may read."""
    suspects = [*environment.paths.root.rglob("*"), bundles.age_key_file(environment)]
    wide = [
        path
        for path in suspects
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077 and _readable(path)
    ]
    for path in wide[:5]:
        yield Check(
            Verdict.MISSING,
            f"{path}: others on this machine may read it",
            f"chmod go= {path}",
        )


def _readable(path: Path) -> bool:
    """Whether others get there: not below a directory that is closed to them."""
    return all(stat.S_IMODE(parent.stat().st_mode) & 0o011 for parent in path.absolute().parents)


def certificate(environment: Environment) -> Iterator[Check]:
    """How long talosconfig and kubeconfig are valid; what needs them makes them again by itself."""
    paths, name = environment.paths, environment.name
    talosconfig, marker = paths.talosconfig, paths.kubeconfig_fetched
    checked = [
        (
            talosconfig,
            client_certificates.problem,
            client_certificates.facts,
            talosconfig,
            "validate",
        ),
        (paths.kubeconfig, kubeconfig.reason, kubeconfig.facts, marker, "up"),
    ]
    for path, problem_of, facts_of, output, target in checked:
        said = facts_of(environment)
        if not path.exists() and not said:
            continue
        problem = problem_of(environment)
        if problem:
            yield Check(
                Verdict.WARNING,
                f"{path}: {problem}; the next run that needs it makes a new one",
                # Without it, its job runs also where Snakemake does not know with what it was made.
                f"rm -f {output} && snakemake {target} --config env={name}",
            )
        else:
            since, until = client_certificates.validity(said)
            yield ok(
                f"{path}: its certificate is valid until {lifetimes.shown(until)}, and made again "
                f"after {lifetimes.shown(lifetimes.half_life(since, until))}"
            )


def virtual_machines(environment: Environment) -> Iterator[Check]:
    """Libvirt, and KVM where the machines run here."""
    if environment.vms is None:
        return
    uri = environment.vms.uri
    try:
        session.connection(uri)
    except TalosmakeError as error:
        yield failed(error)
        return
    yield ok(f"{environment.name}: libvirt answers at {uri}")
    if uri.startswith("qemu:///"):
        yield from _kvm(environment, environment.vms.machines)


def _kvm(environment: Environment, machines: Sequence[Vm]) -> Iterator[Check]:
    """What machines that want KVM need; those that want TCG run everywhere."""
    wanting = [vm.owner.node for vm in machines if vm.accelerator is Accelerator.KVM]
    if not wanting:
        return
    if not KVM.exists():
        yield Check(
            Verdict.MISSING,
            f"{environment.name}: there is no {KVM}, but {', '.join(wanting)} want KVM",
            "switch virtualization on in the firmware (nested virtualization where this is a "
            "virtual machine itself), and load the module kvm_intel or kvm_amd\n"
            f"or write VM_ACCELERATOR=tcg into {environment.env_file}, or into their node.env: "
            "they then run in software, ten times slower",
        )
    elif not os.access(KVM, os.R_OK | os.W_OK):
        yield Check(Verdict.WARNING, f"{KVM} may not be used by you", "sudo usermod -aG kvm $USER")
    else:
        yield ok(f"{KVM} can be used")


def real_nodes(environment: Environment) -> Iterator[Check]:
    """What a lab's nodes are made of."""
    if not environment.cluster.lab:
        return
    fix = set_up("lab")
    for program in ("qemu-system-x86_64", "mkfs.ext4"):
        try:
            find(program)
        except TalosmakeError:
            yield Check(Verdict.MISSING, f"{environment.name}: {program} is not there", fix)
    if (lab.GUEST / "vmlinuz").exists():
        yield ok(f"{environment.name}: what its nodes boot from is built")
    else:
        yield Check(
            Verdict.MISSING, f"{environment.name}: what its nodes boot from is not built", fix
        )


def nodes(environment: Environment) -> Iterator[Check]:
    """What answers at the nodes' addresses."""
    if not (environment.paths.talosconfig.exists() or environment.bundle.exists()):
        yield Check(
            Verdict.WARNING,
            f"{environment.name}: its nodes are not asked, as there is no talosconfig yet",
            f"snakemake validate --config env={environment.name}",
        )
        return
    try:
        talosctls.require(environment.cluster.talosctl)
        environment = credentials.looking(environment, Access.READER)
    except TalosmakeError as error:
        unasked = f"{environment.name}: its nodes are not asked: {error.message}"
        yield Check(Verdict.WARNING, unasked, error.hint)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(lambda node: _node(environment, node), environment.nodes)


def _node(environment: Environment, node: Node) -> Check:
    who = f"{environment.name}/{node.name} ({node.address})"
    try:
        live = observe(environment, node)
    except NodeError as error:
        return failed(error)
    if live.state in (State.RUNNING, State.MAINTENANCE):
        return ok(f"{who}: {live.state}")
    if live.state is State.FOREIGN:
        return Check(
            Verdict.MISSING, f"{who}: belongs to another cluster", f"correct {node.env_file}"
        )
    applied = environment.paths.applied(node).exists()
    return Check(
        Verdict.MISSING if applied else Verdict.WARNING,
        f"{who}: does not answer: {live.detail}",
        f"power it on, or correct {node.env_file}; what is between is a firewall or a route",
    )


_OF_AN_ENVIRONMENT: tuple[Callable[[Environment], Iterator[Check]], ...] = (
    keys,
    certificate,
    virtual_machines,
    real_nodes,
    nodes,
)


def checks(environments: Sequence[Environment]) -> Iterator[Check]:
    """All checks; each is made when its turn comes."""
    yield from programs(environments)
    yield disk_space(Path())
    yield from repository()
    for environment in environments:
        for check in _OF_AN_ENVIRONMENT:
            yield from check(environment)


def lines(check: Check) -> str:
    """A check for people: the verdict, and below it what fixes it."""
    fix = "".join(f"\n         -> {line}" for line in check.fix.splitlines())
    return f"{check.verdict:7}  {check.what}" + ("" if check.verdict is Verdict.OK else fix)


def show(environments: Sequence[Environment]) -> None:
    """The target ``doctor``: print each check as it is made.

    :raises TalosmakeError: at the end, when something that is needed is missing.
    """
    found = dict.fromkeys(Verdict, 0)
    for check in checks(environments):
        print(lines(check), flush=True)
        found[check.verdict] += 1
    missing, warnings = found[Verdict.MISSING], found[Verdict.WARNING]
    told = f"{missing} missing, {warnings} warning{'s' * (warnings != 1)}"
    if missing:
        raise TalosmakeError(f"doctor: {told}", hint="How to fix it stands below each.")
    print(f"doctor: {told}")
