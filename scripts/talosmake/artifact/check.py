"""Checking an environment without its secrets: rendered and validated with a throw-away bundle.

For a pull request's job, also from a fork: it needs no age key. The bundle is in memory; configs
made with it are in a private temporary directory, which is removed at the end. Of what is encrypted
in Git it looks only at whether it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from talosmake.artifact import pack
from talosmake.base import files, git
from talosmake.base.errors import LintError, SecretsError, TalosmakeError, ValidationError
from talosmake.checks import lint, validate
from talosmake.checks.finding import Finding, report
from talosmake.inventory import node_names
from talosmake.inventory.model import Environment, Node
from talosmake.render import apply_script, cilium, machine_config
from talosmake.secrets import plain, sops
from talosmake.talos import generate

# No environment has a name that starts with a dot.
DIRECTORY = Path("rendered_configs/.check")
_AT_ONCE = 4


def check(environments: Sequence[Environment], strict: bool) -> None:
    """The target ``artifact_check``: check each environment, and keep its redacted configs.

    :param strict: lint findings are errors.
    :raises TalosmakeError: with all that is wrong.
    """
    errors: list[TalosmakeError] = list(in_plain_text(environments))
    for environment in environments:
        try:
            _check(environment, strict)
        except TalosmakeError as error:
            errors.append(error)
    if errors:
        *others, last = errors
        raise type(last)("\n".join([*map(str, others), last.message]), hint=last.hint)


def in_plain_text(environments: Sequence[Environment]) -> Iterator[SecretsError]:
    """Secrets in plain text: in bundles and patches that should be encrypted, and in all else."""
    paths = [environment.bundle for environment in environments if environment.bundle.exists()]
    paths += [path for environment in environments for path in encrypted_layers(environment)]
    for path in dict.fromkeys(paths):
        try:
            sops.refuse_plain_text(path.read_bytes(), path)
        except SecretsError as error:
            yield error
    found = [
        f"{path}:{finding.line}: holds {finding.what}"
        for path in sorted({path for one in environments for path in _plain_files(one)})
        for finding in plain.findings(path.read_bytes(), path.name)
    ]
    if found:
        yield SecretsError("\n".join(found), hint=plain.HINT)


def _plain_files(environment: Environment) -> Iterator[Path]:
    """What an environment is made of beside encrypted files."""
    yield environment.env_file
    for node in environment.nodes:
        yield from (path for path in node.patches if not _encrypted(path))
        yield from (path for path in node.env_files if path.exists())
    yield from cilium.files_of(environment)
    yield from environment.schematics


def _check(environment: Environment, strict: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="talosmake-check-") as directory:
        checked = stand_in(environment, Path(directory))
        _render(checked)
        node_names.check_rendered(checked, checked.nodes)
        apply_script.write_apply_script(checked)
        found = lint.findings(checked)
        print(report(environment, found))
        left_out = encrypted_layers(environment)
        if left_out:
            print(
                f"{environment.name}: encrypted, so not read and left out of the check:\n"
                + "\n".join(f"  {path}" for path in left_out)
            )
        path = _write(checked, left_out, found)
    print(
        f"{environment.name}: {len(checked.nodes)} configs pass 'talosctl validate' with a "
        f"throw-away bundle; redacted: {path}"
    )
    if found and strict:
        raise LintError(
            f"{environment.name}: lint finds {len(found)}, and strict is set", hint="See above."
        )


def stand_in(environment: Environment, directory: Path) -> Environment:
    """The environment with a throw-away bundle and without encrypted patches.

    :param directory: where what is made for it goes.
    """
    return replace(
        environment,
        nodes=tuple(
            replace(node, patches=tuple(path for path in node.patches if not _encrypted(path)))
            for node in environment.nodes
        ),
        stand_in=generate.gen_secrets(
            environment.cluster.talos_contract, environment.cluster.talosctl
        ),
        output=directory,
    )


def encrypted_layers(environment: Environment) -> list[Path]:
    """The encrypted patches of all nodes, each once."""
    paths = (path for node in environment.nodes for path in node.patches)
    return sorted({path for path in paths if _encrypted(path)})


def _encrypted(path: Path) -> bool:
    return path.name.endswith(".sops.yaml")


def _render(environment: Environment) -> None:
    files.private_directory(environment.paths.state)
    if environment.cilium is not None:
        cilium.write_layer(environment)

    def attempt(node: Node) -> TalosmakeError | None:
        try:
            machine_config.write_config(environment, node)
            validate.validate_config(environment, node)
        except TalosmakeError as error:
            return error
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        errors = [error for error in pool.map(attempt, environment.nodes) if error]
    if errors:
        # Nodes share patches, and so mistakes.
        said = list(dict.fromkeys(map(str, errors)))
        raise ValidationError("\n".join(said))


def _write(environment: Environment, left_out: Sequence[Path], found: Sequence[Finding]) -> Path:
    """Keep what a person reviews; its manifest names no configs, so that it cannot be deployed."""
    commit = git.commit()
    members = pack.review(environment, found)
    content = {
        **pack.facts(environment, commit),
        "left_out": [str(path) for path in left_out],
    }
    members[pack.MANIFEST] = pack.as_json(content).encode()
    directory = DIRECTORY / environment.name
    files.private_directory(directory)
    files.ignore_all(DIRECTORY)
    for old in directory.glob("*.tar.gz"):
        old.unlink()
    return pack.write(environment, directory, commit, members)
