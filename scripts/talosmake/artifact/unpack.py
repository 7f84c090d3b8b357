"""Taking configs out of an artifact, after all of it was verified."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from talosmake.artifact import archive
from talosmake.artifact.pack import (
    ENCRYPTED,
    FORMAT,
    LINT,
    MANIFEST,
    RECIPIENTS,
    SEAL,
    VALIDATION,
    sha256_of,
)
from talosmake.base import files, git
from talosmake.base.errors import ArtifactError, SecretsError, ToolError
from talosmake.base.progress import say, warn
from talosmake.base.this_run import Memo
from talosmake.inventory import node_names
from talosmake.inventory.artifact import Artifact, PackedNode
from talosmake.inventory.model import Environment, Node
from talosmake.secrets import age, bundles


def attached(environment: Environment, path: str | None, strict: bool) -> Environment:
    """The environment with the artifact that its configs come from, if one is named.

    :param strict: refuse an artifact with lint findings, or of uncommitted changes.
    :raises ArtifactError: when it is none, is damaged, or not this environment's.
    """
    if path is None:
        return environment
    artifact = read(Path(path))
    _check(environment, artifact)
    if strict and artifact.dirty:
        raise ArtifactError(
            f"{path}: was {_DIRTY}, and strict is set",
            hint="Where it was made, commit what 'git status' shows, or let .gitignore name it, "
            "and make a new artifact.",
        )
    if strict and artifact.findings:
        raise ArtifactError(
            f"{path}: was made with {artifact.findings} lint findings, and strict is set",
            hint=f"They stand in its {LINT}. Fix them and make a new artifact.",
        )
    return replace(environment, artifact=artifact)


_DIRTY = "made from a tree with uncommitted changes, so what it holds is in no commit"


def read(path: Path) -> Artifact:
    """Read an artifact that can be deployed; its seal is not looked at yet.

    :raises ArtifactError: when it is none, or damaged, or a check's.
    """
    try:
        with path.open("rb") as file:
            content = file.read(archive.MOST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read: {error.strerror}",
            hint="artifact= names the file that 'snakemake artifact' made.",
        ) from None
    try:
        members = archive.unpack(archive.decompress(content))
        manifest = json.loads(members[MANIFEST])
        if manifest["format"] != FORMAT:
            raise ArtifactError(f"is of format {manifest['format']}, not {FORMAT}")
        if not manifest.get("configs"):
            raise ArtifactError("was made by artifact_check, without the environment's secrets")
        _check_members(members, manifest)
        results = json.loads(members[VALIDATION])
        return Artifact(
            path=path,
            sha256=sha256_of(content),
            environment=manifest["environment"],
            cluster=manifest["cluster"],
            commit=manifest["commit"],
            version=manifest["version"],
            dirty=manifest["dirty"],
            manifest=members[MANIFEST],
            seal=members[SEAL].decode().strip(),
            findings=manifest["findings"],
            nodes={
                name: PackedNode(
                    sha256, results[name]["lint"], members[f"configs/{name}.yaml"].decode()
                )
                for name, sha256 in manifest["configs"].items()
            },
            encrypted=members.get(ENCRYPTED),
        )
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.message}", hint=_AGAIN) from None
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{path}: is no artifact of this workflow ({type(error).__name__}: {error})",
            hint=_AGAIN,
        ) from None


_AGAIN = (
    "Nothing was sent. Fetch the file again, or make it again:  snakemake artifact --config env=ENV"
)


def _check_members(members: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    listed = manifest["members"]
    found = set(members) - {MANIFEST, SEAL, ENCRYPTED}
    if found != set(listed):
        wrong = ", ".join(sorted(found ^ set(listed)))
        raise ArtifactError(f"is not complete, or has more than its manifest says: {wrong}")
    for name, sha256 in listed.items():
        if sha256_of(members[name]) != sha256:
            raise ArtifactError(f"its {name} was changed: it does not fit the manifest")


def _check(environment: Environment, artifact: Artifact) -> None:
    """Refuse an artifact of another environment, cluster or set of nodes."""
    for what, has, wanted in (
        ("environment", artifact.environment, environment.name),
        ("cluster", artifact.cluster, environment.cluster.name),
    ):
        if has != wanted:
            raise ArtifactError(
                f"{artifact.path}: is for the {what} {has}, not {wanted}; nothing was sent"
            )
    known = {node.config_name for node in environment.nodes}
    differences = (
        ("it has nodes that are not in Git", set(artifact.nodes) - known),
        ("it lacks nodes that are in Git", known - set(artifact.nodes)),
    )
    for what, names in differences:
        if names:
            raise ArtifactError(
                f"{artifact.path}: {what}: {', '.join(sorted(names))}; nothing was sent",
                hint=f"It was made from commit {artifact.commit}. Check that one out, or make the "
                "artifact again.",
            )


def announce(environment: Environment) -> None:
    """Say which commit is deployed, and whether it is the one that is checked out."""
    artifact = environment.artifact
    if artifact is None:
        return
    say(f"{environment.name}: deploying {artifact.path}, made from {_commit(artifact)}")
    if artifact.dirty:
        warn(f"{environment.name}: {artifact.path} was {_DIRTY}")
    try:
        here = git.commit()
    except (ArtifactError, ToolError):
        # Without Git there is nothing to compare with.
        return
    if here.sha != artifact.commit:
        warn(
            f"{environment.name}: another commit is checked out: {here.version} ({here.sha}); "
            "addresses and time-outs come from it, the configs from the artifact"
        )


def _commit(artifact: Artifact) -> str:
    return f"commit {artifact.commit} ({artifact.version})"


def write_config(environment: Environment, node: Node) -> None:
    """Write a node's config as it is in the artifact, after all of it was verified.

    :raises ArtifactError: when the artifact is not genuine, or holds no complete configs.
    :raises SecretsError: when no age key fits.
    """
    artifact = environment.artifact
    if artifact is None:
        raise ArtifactError(f"{environment.name}: there is no artifact to unpack")
    configs = opened(environment, artifact)
    files.output_directory(environment.paths.root)
    files.write_atomically(environment.paths.config(node), configs[node.config_name])


_opened: Memo[str, dict[str, bytes]] = Memo("the complete configs in an artifact")


def opened(environment: Environment, artifact: Artifact) -> dict[str, bytes]:
    """The complete configs in an artifact, each the one that its manifest names; once a run.

    :raises ArtifactError: when it is not genuine, or holds no complete configs.
    :raises SecretsError: when no age key fits.
    """
    return _opened.of(artifact.sha256, lambda: _open(environment, artifact))


def check_seal(environment: Environment, artifact: Artifact) -> None:
    """Refuse an artifact that was not made by who has the environment's bundle.

    :raises ArtifactError: when its seal does not fit its manifest.
    :raises SecretsError: as :func:`talosmake.secrets.bundles.bundle_of`.
    """
    seal = bundles.seal(environment, artifact.manifest)
    # As bytes: Python compares no text in this way that is not ASCII.
    if not hmac.compare_digest(seal.encode(), artifact.seal.encode()):
        raise ArtifactError(
            f"{artifact.path}: was changed after it was made, or made with another bundle than "
            f"{environment.bundle}; nothing was sent",
            hint=_AGAIN,
        )


def _open(environment: Environment, artifact: Artifact) -> dict[str, bytes]:
    check_seal(environment, artifact)
    if artifact.encrypted is None:
        raise ArtifactError(
            f"{artifact.path}: holds no complete configs, only redacted ones",
            hint=f"Set {RECIPIENTS} in {environment.env_file}, commit it, and make the artifact "
            "again.",
        )
    try:
        members = archive.unpack(age.decrypt(artifact.encrypted, _keys(environment)))
    except (ArtifactError, SecretsError) as error:
        raise ArtifactError(
            f"{artifact.path}: its {ENCRYPTED} cannot be opened: {error.message}",
            hint="Set SOPS_AGE_KEY_FILE to a file with the age key of one of its recipients "
            f"({RECIPIENTS} in {environment.env_file}); the file may hold several keys.",
        ) from None
    configs = {name.removesuffix(".yaml"): config for name, config in members.items()}
    wanted = {name: node.sha256 for name, node in artifact.nodes.items()}
    if {name: sha256_of(config) for name, config in configs.items()} != wanted:
        raise ArtifactError(
            f"{artifact.path}: its complete configs are not those that its manifest names; "
            "nothing was sent",
            hint=_AGAIN,
        )
    node_names.check(environment, configs)
    return configs


def _keys(environment: Environment) -> list[bytes]:
    keys = bundles.identities(environment)
    if not keys:
        raise SecretsError("there is no age key")
    return keys


def not_deploying() -> ArtifactError:
    """The error where ``deploy`` is called without an artifact."""
    return ArtifactError(
        "deploy needs the artifact that is to be deployed",
        hint="Name it:  snakemake deploy --config env=ENV artifact=FILE -j4\n"
        "Without one, render and deploy what is in Git:  snakemake up --config env=ENV -j4",
    )


def only_for_deploy(target: str) -> ArtifactError:
    """The error where an artifact is named for a target that works on patches."""
    return ArtifactError(
        f"{target} works on what is in Git; artifact= is for deploy, and for apply, bootstrap, up "
        "and validate"
    )
