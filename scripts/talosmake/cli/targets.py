"""All targets: what each does and takes. ``--help`` and docs/reference.md come from here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A target of the workflow.

    :ivar name: as Snakemake knows it; "" for what it does without one.
    :ivar does: in a few words of Markdown, for ``--help`` and the reference.
    :ivar keys: keys of ``--config`` that it looks at, beside ``env``.
    :ivar words: those of the keys whose values may stand alone behind the environment, in order.
    :ivar shown: how it is called in the reference, where keys belong to it.
    :ivar takes_env: whether it is about an environment.
    """

    name: str
    does: str
    keys: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    shown: str = ""
    takes_env: bool = True

    @property
    def call(self) -> str:
        """What stands behind ``snakemake``."""
        return self.shown or self.name


TARGETS = (
    Target(
        "",
        "as far as the environment's goal: `rendered`, `validated`, `applied` or `bootstrapped`",
        keys=("goal", "strict"),
    ),
    Target("render", "machine configs, talosconfig, apply.sh"),
    Target(
        "validate",
        "… and `talosctl validate --mode metal` on each config, and [lint](lint.md)",
        keys=("strict",),
    ),
    Target(
        "lint",
        "show what lint finds; `strict=true`: exit code 1 if there is any",
        keys=("strict",),
    ),
    Target(
        "explain",
        "which file set each value of a config, and what it overrode: [day 2](day-2.md)",
        keys=("node", "path"),
        words=("node", "path"),
    ),
    Target(
        "diff",
        "what differs between Git and the running nodes, redacted; exit code 2 if anything does, "
        "or waits for a reboot: [day 2](day-2.md)",
        keys=("node", "against"),
        words=("node",),
    ),
    Target(
        "promote",
        "what one environment's configs have that another's lack: `--config from=dev to=prod`",
        keys=("from", "to"),
        words=("from", "to"),
        takes_env=False,
    ),
    Target(
        "schematics",
        "which images of the Image Factory's nodes get: file, id, extensions, installer, ISO; "
        "`submit=true`: register them there: [schematics](schematics.md)",
        keys=("submit",),
    ),
    Target("schemas", "JSON schemas for your editor: [editor help](editor.md)", takes_env=False),
    Target("doctor", "what is missing on this machine, and how to fix it: [doctor](doctor.md)"),
    Target(
        "report",
        "one HTML page about the environment; `live=true`: with what the nodes run: "
        "[report](report.md)",
        keys=("live",),
    ),
    Target("dag", "a picture of all steps and how they are: [report](report.md#the-steps)"),
    Target(
        "artifact",
        "`validate`, and all that is reviewed in one file: [in a pipeline](ci.md)",
        keys=("strict",),
    ),
    Target(
        "artifact_check",
        "render and validate without any secret, with a throw-away bundle; refuses secrets in "
        "plain text",
        keys=("strict",),
    ),
    Target(
        "deploy",
        "verify an artifact and apply exactly the configs in it; nothing is rendered",
        keys=("artifact", "strict"),
        words=("artifact",),
        shown="deploy artifact=FILE",
    ),
    Target(
        "vms", "the virtual machines run, with their network and disks as Git says", ("confirm",)
    ),
    Target("vms_plan", "what `vms` would do", ("confirm",)),
    Target("apply", "validated, the virtual machines run, and each node has its config"),
    Target("bootstrap", "the control planes have theirs, and etcd runs on all of them"),
    Target("up", "`apply` and `bootstrap`", keys=("strict",)),
    Target(
        "vms_stop",
        "shut down the virtual machines (`node=<node>`: that one)",
        keys=("node",),
        words=("node",),
    ),
    Target(
        "vms_destroy",
        "destroy those of an environment or a node; disks only with `disks=yes`",
        keys=("confirm", "disks"),
        shown="vms_destroy confirm=…",
    ),
    Target(
        "nodes",
        "a table of all nodes: role, address, MAC, virtual machine, the Talos that runs there and "
        "Git's where it is [another](day-2.md#a-new-version-of-talos), and what answers",
    ),
    Target(
        "secrets",
        "make age key, .sops.yaml and bundle where there are none; writes over nothing",
        keys=("bundle",),
    ),
    Target(
        "separate_secrets",
        "give an environment its own bundle in place of the shared one, before it is deployed",
    ),
    Target(
        "rekey",
        "encrypt bundles and encrypted patches again for those in .sops.yaml: "
        "[let somebody out](secrets.md#let-somebody-out)",
    ),
    Target(
        "reset",
        "a node, or all: out of etcd, wiped, back in maintenance mode: [day 2](day-2.md)",
        keys=("node", "confirm"),
        words=("node",),
        shown="reset node=… confirm=…",
    ),
    Target(
        "reboot",
        "a node: a control plane when all other members of etcd are healthy, until it is healthy "
        "again: [day 2](day-2.md#in-force-after-a-reboot)",
        keys=("node",),
        words=("node",),
        shown="reboot node=…",
    ),
    Target("refresh", "ask all nodes and drop the markers that no longer hold"),
    Target(
        "prune",
        "remove what is left here of nodes that are no longer in Git; with `confirm=NODE` also "
        "what is known of its machine",
        keys=("confirm",),
    ),
    Target("simulator_stop", "stop an environment's simulated nodes"),
    Target("lab_stop", "power off an environment's lab"),
)


def named() -> dict[str, Target]:
    """The targets that have a name, by it."""
    return {target.name: target for target in TARGETS if target.name}


def table() -> Iterator[str]:
    """The lines of the reference's table."""
    yield from ("| `snakemake …` | |", "|---|---|")
    for target in TARGETS:
        yield f"| {f'`{target.call}`' if target.name else '(none)'} | {target.does} |"
