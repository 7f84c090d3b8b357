"""Running lint: each node's part when its config is validated, and then the environment's.

What is found for a node is kept in a file with a digest of all that was looked at, so that a run in
which one node of many has changed looks at that one alone. It is beside the ``.validated`` marker:
a new rule of lint's looks at all nodes, and is no reason to validate or to ask any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from talosmake.base import marker
from talosmake.base.errors import LintError, TalosmakeError
from talosmake.base.progress import warn
from talosmake.checks import lint_rules
from talosmake.checks.environment_rules import key_values
from talosmake.checks.finding import EnvironmentView, Finding, NodeView, joined, report
from talosmake.inventory import elsewhere, node_names, places
from talosmake.inventory.model import Environment, Node
from talosmake.inventory.names import environment_names
from talosmake.patches import inject
from talosmake.render import cilium, disclosure, machine_config, revisions, sources
from talosmake.render.layers import NodeLayers


def of_node(
    environment: Environment, node: Node, own: NodeLayers | None = None
) -> list[dict[str, Any]]:
    """What lint finds for one node whose config is validated, as it is kept.

    :param own: what its config is made of, where the job has read it already.
    :raises ConfigError: when its files are no markers.
    """
    if environment.artifact:
        return list(environment.artifact.nodes[node.config_name].lint)
    validated = marker.read(environment.paths.validated(node))
    key, path = _key(environment, node, validated), environment.paths.linted_node(node)
    kept = marker.read(path)
    if kept.get("of") != key or not isinstance(kept.get("findings"), list):
        config = environment.paths.config(node).read_bytes()
        own = own or NodeLayers(environment, node)
        view = node_view(own, config, str(validated.get("warnings", "")))
        found = lint_rules.of_node(view)
        try:
            found = _without_secrets(view, found)
        except TalosmakeError as error:
            return [asdict(_not_shown(finding, error)) for finding in found]
        marker.write_reproducibly(path, of=key, findings=[asdict(finding) for finding in found])
        # As it is read the next time: a tuple is a list in JSON.
        kept = marker.read(path)
    findings = kept.get("findings")
    return findings if isinstance(findings, list) else []


def _without_secrets(view: NodeView, found: list[Finding]) -> list[Finding]:
    """The same without values of the bundle and of encrypted patches, which plain ones repeat."""
    if not found:  # and then nothing has to be decrypted
        return []
    without = view.secrets.without
    return [replace(one, what=without(one.what), do=without(one.do)) for one in found]


def _not_shown(finding: Finding, error: TalosmakeError) -> Finding:
    said = f"what is found is not shown, as it may hold secrets: {error.message}"
    return replace(finding, what=said, do=error.hint)


def _key(environment: Environment, node: Node, validated: Mapping[str, object]) -> str:
    """A digest of all that the rules about a node look at, and of the rules."""
    looked_at = sources.of_lint(environment, node, cilium.files_of(environment))
    said = [revisions.LINT, validated.get("sha256"), validated.get("warnings"), looked_at]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def sources_of(environment: Environment) -> str:
    """A digest of all that lint looks at in an environment, beside configs and bundles."""
    paths = cilium.files_of(environment)
    said = [
        environment.facts.get("LINT_OFF", ""),
        sources.names_of(environment),
        *(sources.of_lint(environment, node, paths) for node in environment.nodes),
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def node_view(own: NodeLayers, config: bytes = b"", warnings: str = "") -> NodeView:
    """All that the rules look at, read from the node's files."""
    environment, node = own.environment, own.node
    return NodeView(
        environment,
        node,
        own.layers,
        read_config=lambda: config,
        read_base=lambda: machine_config.base_of(
            environment.cluster_of(node), node.role, own.bundle
        ),
        warnings=warnings,
        read_cilium=partial(cilium.values_of, environment),
        read_secrets=lambda: disclosure.secrets_of(own),
    )


def findings(environment: Environment) -> list[Finding]:
    """What lint finds in an environment whose configs are all validated.

    :raises LintError: when ``LINT_OFF`` names no rule.
    """
    found = _of_nodes(environment, environment.nodes)
    found += lint_rules.of_environment(environment_view(environment))
    return joined(found, lint_rules.switched_off(environment))


def findings_of_nodes(environment: Environment, nodes: Sequence[Node]) -> list[Finding]:
    """What lint finds in the validated configs of these nodes, and not between nodes.

    :raises LintError: when ``LINT_OFF`` names no rule.
    """
    return joined(_of_nodes(environment, nodes), lint_rules.switched_off(environment))


def _of_nodes(environment: Environment, nodes: Sequence[Node]) -> list[Finding]:
    return [
        Finding(**{**item, "nodes": tuple(item["nodes"])})
        for node in nodes
        for item in of_node(environment, node)
    ]


def environment_view(environment: Environment) -> EnvironmentView:
    """All that the rules about an environment look at, read from its files."""
    encrypted = {} if environment.cluster.throwaway else _texts(_encrypted(environment))
    return EnvironmentView(
        environment,
        [node_view(NodeLayers(environment, node)) for node in environment.control_planes],
        "".join(_texts([places.SOPS_RULES]).values()),
        encrypted,
        {} if environment.cluster.throwaway else _texts(other_bundles(environment)),
        elsewhere.clashes(environment),
        partial(_used, environment),
    )


def _used(environment: Environment) -> frozenset[str]:
    """The facts that its patches and Cilium's files use, encrypted ones apart."""
    paths = {path for node in environment.nodes for path in node.patches}
    paths |= {path for path in cilium.files_of(environment) if path.suffix == ".yaml"}
    texts = _texts(sorted(paths)).values()
    return frozenset(name for text in texts for name in inject.names(text))


def _encrypted(environment: Environment) -> list[Path]:
    """The environment's encrypted files."""
    patches = (path for node in environment.nodes for path in node.patches)
    sops = (path for path in patches if path.name.endswith(".sops.yaml"))
    return [environment.bundle, *dict.fromkeys(sops)]


def files_of(environment: Environment) -> list[Path]:
    """What says who can decrypt, and all bundles: two of them may be the same."""
    rules = [places.SOPS_RULES] if places.SOPS_RULES.exists() else []
    if environment.cluster.throwaway:
        return rules
    return [*rules, environment.bundle, *other_bundles(environment)]


def other_bundles(environment: Environment) -> list[Path]:
    """The bundles of all other environments that have their own, and the shared one."""
    names = [name for name in environment_names() if name != environment.name]
    paths = [*(places.own_bundle(name) for name in names), places.SHARED_BUNDLE]
    return [path for path in paths if path != environment.bundle and path.exists()]


def shares_bundle(environment: Environment) -> bool:
    """Whether other environments have the same bundle: the same file, or a copy of it."""
    if environment.shares_bundle_with or environment.cluster.throwaway:
        return bool(environment.shares_bundle_with)
    keys = key_values("".join(_texts([environment.bundle]).values()))
    return any(keys & key_values(text) for text in _texts(other_bundles(environment)).values())


def _texts(paths: Sequence[Path]) -> dict[Path, str]:
    return {
        path: path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists()
    }


def lint_environment(environment: Environment, strict: bool) -> None:
    """Say what lint finds, as a warning, and write the marker that it was said.

    :param strict: findings are an error, and no marker is written.
    :raises InventoryError: when two nodes have one name by their configs.
    :raises LintError: with all findings, when ``strict``.
    """
    node_names.check_rendered(environment, environment.nodes)
    found = findings(environment)
    if found and strict:
        raise _refused(environment, found)
    if found:
        warn(report(environment, found))
    marker.write(environment.paths.linted, step="linted", findings=len(found))


def show(environments: Sequence[Environment], strict: bool) -> None:
    """The target ``lint``: print all findings, whether they were said before or not.

    :raises InventoryError: when two nodes of an environment have one name by their configs.
    :raises LintError: when there are any, and ``strict``.
    """
    refused = []
    for environment in environments:
        node_names.check_rendered(environment, environment.nodes)
        found = findings(environment)
        if found and strict:
            refused.append(_refused(environment, found))
        else:
            print(report(environment, found))
    if refused:
        raise LintError(
            "\n".join(error.message for error in refused), hint=refused[0].hint
        ) from None


def _refused(environment: Environment, found: Sequence[Finding]) -> LintError:
    return LintError(
        report(environment, found),
        hint="With strict=true nothing is applied until they are fixed.",
    )
