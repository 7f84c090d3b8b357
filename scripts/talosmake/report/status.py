"""Looking after what earlier runs made: stale markers, leftovers, and the node table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from talosmake.base import files, marker
from talosmake.base.errors import NodeError, TalosmakeError
from talosmake.base.parallel import each
from talosmake.base.progress import error_in, warn
from talosmake.inventory import settings
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment, Node, Role
from talosmake.machines import make
from talosmake.render import cilium, credentials
from talosmake.report import outdated
from talosmake.rollout import installed, waits
from talosmake.talos.observe import State, observe


def node_table(environment: Environment) -> str:
    """All nodes with role, address, MAC, virtual machine, Talos, and what answers, as a table."""
    states = _states(environment)
    machines = make.states(environment)
    rows = [("NODE", "ROLE", "ADDRESS", "MAC", "VM", "CONFIG", "TALOS", "LIVE")]
    rows += [
        (
            node.name,
            str(node.role),
            node.address,
            node.mac or "-",
            machines[node.config_name],
            step_of(environment, node) + ", changed since" * is_changed(environment, node),
            talos,
            state,
        )
        for node, (state, talos, _) in zip(environment.nodes, states, strict=True)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += outdated.advice(environment, [seen for _, _, seen in states if seen])
    lines += waits.advice(environment)
    return "\n".join([_title(environment), *lines])


def show_nodes(environment: Environment) -> None:
    """The target ``nodes``: print the table, also when Snakemake is told to be quiet."""
    print(node_table(environment))


def _title(environment: Environment) -> str:
    simulated = ", simulated nodes" if environment.cluster.simulated else ""
    simulated = ", real Talos nodes in QEMU" if environment.cluster.lab else simulated
    state = "bootstrapped" if environment.paths.bootstrapped.exists() else "not bootstrapped"
    cluster = environment.cluster
    return f"{environment.name}: cluster {cluster.name} at {cluster.endpoint}, {state}{simulated}"


def step_of(environment: Environment, node: Node) -> str:
    """How far a node is by its files: applied, validated, rendered, or "-"."""
    paths = environment.paths
    steps = (
        (paths.applied(node), "applied"),
        (paths.validated(node), "validated"),
        (paths.config(node), "rendered"),
    )
    return next((step for path, step in steps if path.exists()), "-")


def is_changed(environment: Environment, node: Node) -> bool:
    """Whether a node's rendered config is another one than what was last applied to it."""
    said = marker.read(environment.paths.applied(node)).get("sha256")
    config = environment.paths.config(node)
    if said is None or not config.exists():
        return False
    return said != files.sha256_of(config)


def machine_of(node: Node) -> dict[str, str]:
    """What tells the machine of a node from others, as its ``.machine`` marker says it."""
    return {
        "address": node.address,
        "endpoint": node.endpoint,
        "mac": node.mac,
        "uuid": node.uuid,
    }


def _is_another_machine(environment: Environment, node: Node) -> bool:
    said = marker.read(environment.paths.machine_of(node))
    now = machine_of(node)
    if not said.get("mac"):  # as where it was not checked
        now.pop("mac")
    return any(said.get(key, value) != value for key, value in now.items())


def is_stale(environment: Environment, node: Node) -> bool:
    """Whether a node has to be applied: nothing was, its config is another, its machine newer."""
    paths = environment.paths
    if not paths.applied(node).exists() or _is_another_machine(environment, node):
        return True
    applied = paths.applied(node).stat().st_mtime
    newer = [
        path
        for path in (paths.config(node), paths.validated(node), paths.vm(node))
        if path.exists() and path.stat().st_mtime > applied
    ]
    # Rendered or validated again, it may be the same as before, as Snakemake finds out, too.
    return paths.vm(node) in newer or (bool(newer) and is_changed(environment, node))


def failed_nodes(environment: Environment) -> list[Node]:
    """Nodes whose config could not be made or validated, and whose files nobody changed since."""
    return [node for node in environment.nodes if _failed(environment, node)]


def _failed(environment: Environment, node: Node) -> bool:
    paths = environment.paths
    if paths.config(node).exists() and paths.validated(node).exists():
        return False
    sources = [environment.env_file, environment.bundle, node.env_file, *node.patches]
    sources += [settings.FILE, *cilium.files_of(environment)]
    sources += [*environment.schematics, *node.env_files]
    changed = max((path.stat().st_mtime for path in sources if path.exists()), default=0.0)
    names = [f"{node.config_name}.render.log", f"{node.config_name}.validate.log"]
    names += ["cilium_layer.log"] if node.role is Role.CONTROLPLANE and environment.cilium else []
    logs = (Path("logs") / environment.name / name for name in names)
    return any(error_in(log) and log.stat().st_mtime > changed for log in logs)


_Seen = tuple[str, str, outdated.Seen | None]


def _states(environment: Environment) -> list[_Seen]:
    """What answers at each node's address; a reader's certificate is enough to tell."""
    nodes = environment.nodes
    try:
        environment = credentials.looking(environment, Access.READER)
    except TalosmakeError as error:
        if not environment.bundle.exists():
            return [("not asked (no talosconfig)", "-", None) for _ in nodes]
        warn(f"{environment.name}: nodes are not asked: {error}")
        return [("not asked", "-", None) for _ in nodes]
    return each(nodes, lambda node: _state(environment, node))


def _state(environment: Environment, node: Node) -> _Seen:
    """What answers at a node's address, the Talos there, and how that differs from Git's."""
    try:
        state = observe(environment, node).state
    except NodeError as error:
        return error.message.splitlines()[0], "-", None
    if state is not State.RUNNING:
        return str(state), "-", None
    try:
        talos = installed.ask(environment, node)
    except TalosmakeError as error:
        seen = outdated.Seen(node, unknown=error.message.splitlines()[0])
        return str(state), "not known", seen
    git = outdated.in_git(environment, node)
    if git is None:
        return str(state), f"{talos} (Git's is not known)", None
    found = installed.difference(talos, git)
    return str(state), found.in_short if found else str(talos), outdated.Seen(node, found)


def summary(environment: Environment, *, deployed: bool = False) -> str:
    """What a run made and how to go on.

    :param deployed: whether nodes were to have what is in Git after it; then it is told which of
        them run another Talos.
    """
    paths = environment.paths
    talos = outdated.after_run(environment) if deployed else []
    steps = [
        "changed since applied" if is_changed(environment, node) else step_of(environment, node)
        for node in environment.nodes
    ]
    rendered = any(paths.config(node).exists() for node in environment.nodes)
    made = [
        (f"{paths.root}/", "one machine config per node (secret, for you only)", rendered),
        (paths.talosconfig, "talosctl's access to the nodes", paths.talosconfig.exists()),
        (paths.kubeconfig, "kubectl's access to the cluster", paths.kubeconfig.exists()),
        (paths.apply_script, "the same deployment without Snakemake", paths.apply_script.exists()),
    ]
    control_planes, workers = len(environment.control_planes), len(environment.workers)
    lines = [
        f"{environment.name}: {control_planes} control plane{'s' * (control_planes != 1)} and "
        f"{workers} worker{'s' * (workers != 1)}{_how_far(environment, steps)}"
        f"{outdated.in_short(talos)}",
        *(f"  {path}: {what}" for path, what, there in made if there),
    ]
    findings = marker.read(paths.linted).get("findings")
    if findings:
        lines.append(f"  Lint findings: {findings}; snakemake lint --config env={environment.name}")
    lines += outdated.advice(environment, talos)
    lines += waits.advice(environment)
    if environment.cluster.simulated:
        lines.append("  The nodes are simulated: real talosctl, no Talos and no Kubernetes behind.")
    if not paths.bootstrapped.exists() or set(steps) != {"applied"}:
        lines.append(f"  Next: snakemake {'up ' * rendered}--config env={environment.name} -j4")
    return "\n".join(lines)


def _how_far(environment: Environment, steps: Sequence[str]) -> str:
    done = {
        step: steps.count(step)
        for step in ("applied", "changed since applied", "validated", "rendered")
    }
    told = ", ".join(f"{count} {step}" for step, count in done.items() if count)
    bootstrapped = "; bootstrapped" if environment.paths.bootstrapped.exists() else ""
    return f": {told or 'nothing rendered'}{bootstrapped}"
