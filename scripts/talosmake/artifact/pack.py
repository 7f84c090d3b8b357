"""Artifacts: one file with all that a person reviews of an environment, and a deployment needs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from talosmake.artifact import archive
from talosmake.base import files, git, marker
from talosmake.base.errors import ArtifactError, InventoryError
from talosmake.base.progress import say
from talosmake.base.tools import AGE, HELM, SOPS, TALOSCTL
from talosmake.checks import lint
from talosmake.checks.finding import Finding, report
from talosmake.checks.validate import validated_config
from talosmake.inventory import node_names
from talosmake.inventory.fact_values import place
from talosmake.inventory.model import CniInstall, Environment, Node
from talosmake.render import disclosure
from talosmake.render.layers import NodeLayers
from talosmake.secrets import age, bundles

RECIPIENTS = "ARTIFACT_RECIPIENTS"
MANIFEST, SEAL, ENCRYPTED = "manifest.json", "manifest.hmac-sha256", "configs.tar.age"
VALIDATION, LINT, SCRIPT = "validation.json", "lint.txt", "apply.sh"
FORMAT = 1
# age's own kinds of recipients: X25519, and the hybrid one.
_RECIPIENT = re.compile(r"age1(pq1)?[02-9ac-hj-np-z]{58,}")


def recipients(environment: Environment) -> list[str]:
    """Whom the complete configs are encrypted for: the fact ``ARTIFACT_RECIPIENTS``.

    :raises InventoryError: when one is no age recipient.
    """
    given = environment.facts.get(RECIPIENTS, "").split(",")
    found = [one.strip() for one in given if one.strip()]
    for one in found:
        if not _RECIPIENT.fullmatch(one):
            # It may be the key itself, so it is not shown.
            raise InventoryError(
                f"{place(RECIPIENTS, environment.env_file)}: {RECIPIENTS}: one of its "
                f"{len(found)} is no age recipient",
                hint="Give public keys, which start with age1, separated by commas; "
                "age-keygen -y KEYFILE shows the one of a key file.",
            )
    return found


def make(environment: Environment) -> None:
    """Write the artifact of an environment whose configs are validated.

    :raises ArtifactError: when there is no commit, or something secret would get into it.
    """
    commit = git.commit()
    configs = {node.config_name: validated_config(environment, node) for node in environment.nodes}
    node_names.check(environment, configs)
    found = lint.findings(environment)
    members = review(environment, found)
    members[MANIFEST] = _manifest(environment, commit, members, configs, len(found))
    members[SEAL] = (bundles.seal(environment, members[MANIFEST]) + "\n").encode()
    refuse_leaks(members, disclosure.bundle_forms(bundles.bundle_of(environment)))
    to = recipients(environment)
    if to:
        complete = {f"{name}.yaml": config for name, config in configs.items()}
        members[ENCRYPTED] = age.encrypt(archive.pack(complete, commit.time), to)
    path = write(environment, environment.paths.root, commit, members)
    told = f"the complete configs are in it, encrypted for {len(to)}" if to else _NOT_COMPLETE
    say(f"{environment.name}: {path}; {told}")


_NOT_COMPLETE = f"the complete configs are not in it ({RECIPIENTS} is not set)"


def write(
    environment: Environment, directory: Path, commit: git.Commit, members: Mapping[str, bytes]
) -> Path:
    """Write an artifact's file, named after environment and commit."""
    name = f"talos-{environment.name}-{commit.version.replace('/', '-')}.tar.gz"
    files.private_directory(directory)
    packed = archive.compress(archive.pack(members, commit.time), commit.time)
    files.write_atomically(directory / name, packed)
    return directory / name


def review(environment: Environment, found: Sequence[Finding]) -> dict[str, bytes]:
    """What a person reads of an artifact, by member: nothing secret, no time in it.

    :param found: what lint finds in the environment.
    """
    members = {
        f"configs/{node.config_name}.yaml": disclosure.shown_text(
            NodeLayers(environment, node), validated_config(environment, node)
        )
        for node in environment.nodes
    }
    results = {node.config_name: _result(environment, node) for node in environment.nodes}
    members[VALIDATION] = as_json(results)
    members[LINT] = report(environment, found) + "\n"
    members[SCRIPT] = environment.paths.apply_script.read_text(encoding="utf-8")
    return {name: text.encode() for name, text in members.items()}


def _result(environment: Environment, node: Node) -> dict[str, object]:
    """A ``.validated`` marker without the digest, which the manifest has, and what lint found."""
    said = marker.read(environment.paths.validated(node))
    kept = {key: value for key, value in said.items() if key not in ("sha256", "warnings")}
    return {**kept, "lint": lint.of_node(environment, node)}


def facts(environment: Environment, commit: git.Commit) -> dict[str, Any]:
    """What a manifest says besides its digests."""
    helm = environment.cilium is not None and environment.cilium.install is CniInstall.HELM
    return {
        "format": FORMAT,
        "environment": environment.name,
        "cluster": environment.cluster.name,
        "endpoint": environment.cluster.endpoint,
        "talos": environment.cluster.talos_version,
        "kubernetes": environment.cluster.kubernetes_version,
        "commit": commit.sha,
        "version": commit.version,
        "dirty": commit.dirty,
        "tools": {
            TALOSCTL.name: environment.cluster.talosctl,
            **{tool.name: tool.pinned for tool in (SOPS, AGE, *([HELM] if helm else []))},
        },
    }


def _manifest(
    environment: Environment,
    commit: git.Commit,
    members: Mapping[str, bytes],
    configs: Mapping[str, bytes],
    findings: int,
) -> bytes:
    content = facts(environment, commit)
    content["findings"] = findings
    content["configs"] = {name: sha256_of(config) for name, config in configs.items()}
    content["members"] = {name: sha256_of(member) for name, member in members.items()}
    return as_json(content).encode()


def as_json(content: Mapping[str, object]) -> str:
    """JSON that is the same for the same content."""
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def sha256_of(content: bytes) -> str:
    """The SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def refuse_leaks(members: Mapping[str, bytes], values: list[str]) -> None:
    """The last look before an artifact is written: none of these values stands in it.

    :raises ArtifactError: when one does.
    """
    for name, content in members.items():
        if any(value.encode() in content for value in values):
            raise ArtifactError(
                f"{name}: holds a value of the secrets bundle, so no artifact was made",
                hint="Look where a patch, a fact or a name repeats what the bundle holds.",
            )
