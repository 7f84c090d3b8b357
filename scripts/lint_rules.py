"""Which lint rules there are, running them, and switching them off."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from scripts import lint_cilium, lint_environment, lint_layers, lint_network, lint_values
from scripts.errors import LintError
from scripts.lint import EnvironmentView, Finding, NodeView
from scripts.model import Environment

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
        lint_values.disk_path,
        lint_values.disk_not_given,
        lint_values.host_name,
        lint_values.kubernetes_image,
        lint_values.installer_image,
        lint_values.kernel_arguments,
        lint_values.control_plane_settings,
        lint_values.null_value,
        lint_values.placeholder,
        lint_values.talosctl_warning,
        lint_layers.doubled_item,
        lint_layers.silent_override,
        lint_layers.partial_volume,
        lint_layers.absent_delete,
        lint_network.subnet,
        lint_network.subnet_overlap,
        lint_network.address_outside,
        lint_network.node_endpoint,
        lint_cilium.cilium_values,
    )
}
# Rules about an environment as a whole.
ENVIRONMENT: dict[str, _EnvironmentRule] = {
    name_of(rule): rule
    for rule in (
        lint_environment.even_control_planes,
        lint_environment.endpoint,
        lint_environment.vip_address,
        lint_environment.machine_twice,
        lint_environment.fact_name,
        lint_environment.shared_bundle,
        lint_environment.recipients,
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
                f"{environment.env_file}: LINT_OFF: there is no lint rule {name!r}"
                + (f"; did you mean {near[0]}?" if near else ""),
                hint=f"There are: {', '.join(sorted(known))}",
            )
    return frozenset(names)
