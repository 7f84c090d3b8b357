"""What each rule does: by it a run is locked, checked and summed up.

A test holds the table to the rules; a rule that a person adds is one that writes files.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Flag, auto

from talosmake.inventory.model import Environment, Goal


class Effect(Flag):
    """What a rule does.

    :cvar LOOKS: changes nothing, so it disturbs no run that is at work.
    :cvar WRITES: makes, changes or removes files here.
    :cvar TOUCHES: changes what runs on machines, or makes them.
    :cvar DEPLOYS: after it nodes have what is in Git, so far as they were to.
    :cvar STOPS: after it there is nothing to sum up.
    :cvar COLLECTS: a target that does nothing itself; what a run makes for it counts.
    """

    LOOKS = auto()
    WRITES = auto()
    TOUCHES = auto()
    DEPLOYS = auto()
    STOPS = auto()
    COLLECTS = auto()


RULES = {
    # targets
    "all": Effect.COLLECTS,
    "render": Effect.COLLECTS,
    "validate": Effect.COLLECTS,
    "vms": Effect.COLLECTS,
    "apply": Effect.COLLECTS | Effect.DEPLOYS,
    "bootstrap": Effect.COLLECTS | Effect.DEPLOYS,
    "up": Effect.COLLECTS | Effect.DEPLOYS,
    "deploy": Effect.COLLECTS | Effect.DEPLOYS,
    # from patches to configs
    "throwaway_secrets": Effect.WRITES,
    "cilium_layer": Effect.WRITES,
    "render_config": Effect.WRITES,
    "unpack_config": Effect.WRITES,
    "validate_config": Effect.WRITES,
    "lint_environment": Effect.WRITES,
    "talosconfig": Effect.WRITES,
    "apply_script": Effect.WRITES,
    # machines
    "make_network": Effect.TOUCHES,
    "make_storage": Effect.TOUCHES,
    "make_vm": Effect.TOUCHES,
    "start_simulator": Effect.TOUCHES,
    "start_lab": Effect.TOUCHES,
    "vms_stop": Effect.STOPS,
    "vms_destroy": Effect.STOPS,
    "simulator_stop": Effect.STOPS,
    "lab_stop": Effect.STOPS,
    # nodes
    "apply_controlplane": Effect.TOUCHES | Effect.DEPLOYS,
    "apply_worker": Effect.TOUCHES | Effect.DEPLOYS,
    "bootstrap_cluster": Effect.TOUCHES | Effect.DEPLOYS,
    "kubeconfig": Effect.WRITES,
    "reset": Effect.TOUCHES,
    "reboot": Effect.TOUCHES,
    # a person's files, and what is kept beside them
    "secrets": Effect.WRITES,
    "separate_secrets": Effect.WRITES,
    "rekey": Effect.WRITES,
    "artifact": Effect.WRITES,
    "refresh": Effect.WRITES,
    "prune": Effect.WRITES,
    # looking
    "nodes": Effect.LOOKS,
    "vms_plan": Effect.LOOKS,
    "lint": Effect.LOOKS,
    "explain": Effect.LOOKS,
    "diff": Effect.LOOKS,
    "promote": Effect.LOOKS,
    "schematics": Effect.LOOKS,
    "schemas": Effect.LOOKS,
    "doctor": Effect.LOOKS,
    "dag": Effect.LOOKS,
    "report": Effect.LOOKS,
    "artifact_check": Effect.LOOKS,
}


def with_effect(rules: Iterable[str], effect: Effect) -> frozenset[str]:
    """Those of the rules that have an effect."""
    return frozenset(rule for rule in rules if effect in RULES.get(rule, Effect.WRITES))


def work(due: Iterable[str]) -> frozenset[str]:
    """The rules of a run that are more than looking."""
    rules = frozenset(due)
    return rules - with_effect(rules, Effect.LOOKS)


def is_summed_up(rules: Iterable[str]) -> bool:
    """Whether there is something to say at the end of a run.

    :param rules: from :func:`work`.
    """
    rules = frozenset(rules)
    return bool(rules - with_effect(rules, Effect.STOPS))


def has_deployed(rules: Iterable[str], environment: Environment) -> bool:
    """Whether a run was to bring an environment's nodes what is in Git."""
    rules = frozenset(rules)
    goals = (Goal.APPLIED, Goal.BOOTSTRAPPED)
    reaches_nodes = "all" in rules and environment.options.goal in goals
    return reaches_nodes or bool(with_effect(rules, Effect.DEPLOYS))
