"""Which lint rules there are, running them, and switching them off."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from talosmake.base.errors import LintError
from talosmake.checks import (
    cilium_rules,
    environment_rules,
    image_rules,
    layer_rules,
    network_rules,
    value_rules,
)
from talosmake.checks.finding import EnvironmentView, Finding, NodeView
from talosmake.inventory.fact_values import place
from talosmake.inventory.model import Environment

_NodeRule = Callable[[NodeView], Iterable[Finding]]
_EnvironmentRule = Callable[[EnvironmentView], Iterable[Finding]]


def name_of(rule: Callable[..., Any]) -> str:
    """A rule's name, e.g. ``disk-path`` for the function ``disk_path``."""
    return rule.__name__.replace("_", "-")


# Rules that look at one node, and at nothing that its config is not made of: what they find is kept
# in its marker.
NODE: dict[str, _NodeRule] = {
    name_of(rule): rule
    for rule in (
        value_rules.disk_path,
        value_rules.disk_not_given,
        value_rules.host_name,
        value_rules.kubernetes_image,
        value_rules.installer_image,
        image_rules.installer_source,
        value_rules.kernel_arguments,
        value_rules.control_plane_settings,
        value_rules.null_value,
        value_rules.placeholder,
        value_rules.talosctl_warning,
        layer_rules.doubled_item,
        layer_rules.silent_override,
        layer_rules.partial_volume,
        layer_rules.absent_delete,
        network_rules.subnet,
        network_rules.subnet_overlap,
        network_rules.address_outside,
        network_rules.node_endpoint,
        cilium_rules.cilium_values,
    )
}
# Rules about an environment as a whole.
ENVIRONMENT: dict[str, _EnvironmentRule] = {
    name_of(rule): rule
    for rule in (
        environment_rules.even_control_planes,
        environment_rules.endpoint,
        environment_rules.vip_address,
        environment_rules.machine_twice,
        environment_rules.fact_name,
        environment_rules.shared_bundle,
        environment_rules.recipients,
    )
}


def of_node(view: NodeView) -> list[Finding]:
    """What the rules about one node find, those that are switched off included."""
    return [
        replace(finding, rule=name, nodes=(view.node.name,))
        for name, rule in NODE.items()
        for finding in rule(view)
    ]


def of_environment(view: EnvironmentView) -> list[Finding]:
    """What the rules about an environment find, those that are switched off included."""
    return [
        replace(finding, rule=name) for name, rule in ENVIRONMENT.items() for finding in rule(view)
    ]


def switched_off(environment: Environment) -> frozenset[str]:
    """The rules that ``LINT_OFF`` in cluster.env switches off: names with blanks or commas between.

    :raises LintError: for a name that no rule has.
    """
    said = environment.facts.get("LINT_OFF", "")
    known = [*NODE, *ENVIRONMENT]
    names = said.replace(",", " ").split()
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise LintError(
                f"{place('LINT_OFF', environment.env_file)}: LINT_OFF: there is no lint rule "
                f"{name!r}" + (f"; did you mean {near[0]}?" if near else ""),
                hint=f"There are: {', '.join(sorted(known))}",
            )
    return frozenset(names)
