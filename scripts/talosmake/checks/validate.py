"""``talosctl validate`` for one machine config, and the proof that it passed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from talosmake.base import marker
from talosmake.base.errors import ValidationError
from talosmake.base.redact import without_quotes
from talosmake.checks import lint
from talosmake.inventory.model import Environment, Node
from talosmake.patches import layout, positions
from talosmake.patches.patch import Patch
from talosmake.render import disclosure
from talosmake.render.layers import NodeLayers
from talosmake.talos import generate

# What talosctl says of arguments that no boot loader would read.
_KERNEL_ARGUMENTS = "install.extraKernelArgs and install.grubUseUKICmdline"


def validate_config(environment: Environment, node: Node) -> None:
    """Validate a rendered config and write its ``.validated`` marker; have lint look at it, too.

    What lint finds is not in the marker: it says what was validated, and the same for the same
    config, so that a node has to be asked only where its config is another one.

    :raises ValidationError: with talosctl's message, the node, and the patch files behind it.
    :raises PatchError: as :class:`talosmake.render.layers.NodeLayers`, with its file and line.
    """
    config = environment.paths.config(node).read_bytes()
    _check_reviewed(environment, node, config)
    own = NodeLayers(environment, node)
    try:
        warnings = generate.validate(config, environment.cluster.talosctl)
    except ValidationError as error:
        raise _explained(own, error) from None
    marker.write_reproducibly(
        environment.paths.validated(node),
        step="validated",
        sha256=hashlib.sha256(config).hexdigest(),
        warnings=_shown(own, warnings) if warnings else "",
        talosctl=environment.cluster.talosctl,
    )
    lint.of_node(environment, node, own)


def _shown(own: NodeLayers, warnings: str) -> str:
    if own.environment.artifact:
        return without_quotes(warnings)
    return disclosure.message(own, warnings)


def validated_config(environment: Environment, node: Node) -> bytes:
    """The rendered config, if it is byte for byte the one that passed validation.

    :raises ValidationError: when it is not.
    """
    path, marked = environment.paths.config(node), environment.paths.validated(node)
    try:
        config = path.read_bytes()
    except OSError as error:
        raise ValidationError(f"{path}: cannot be read: {error.strerror}") from None
    if marker.read(marked).get("sha256") != hashlib.sha256(config).hexdigest():
        raise ValidationError(
            f"{path}: is not the config that passed 'talosctl validate' ({marked}); not applied",
            hint=f"Change the patches, not the rendered file. Render it again: remove {path} and "
            "run the same command again.",
        )
    _check_reviewed(environment, node, config)
    return config


def _check_reviewed(environment: Environment, node: Node, config: bytes) -> None:
    """Refuse a config that is not the one in the artifact that is deployed, if one is."""
    artifact, path = environment.artifact, environment.paths.config(node)
    if artifact and artifact.nodes[node.config_name].sha256 != hashlib.sha256(config).hexdigest():
        raise ValidationError(
            f"{path}: is not the config in {artifact.path}; not applied",
            hint=f"It was changed after it was unpacked. Remove {path} and run the same command "
            "again.",
        )


def _explained(own: NodeLayers, error: ValidationError) -> ValidationError:
    environment, node = own.environment, own.node
    if environment.artifact:
        # What was secret when it was made is not known here, so nothing is quoted.
        return ValidationError(
            f"{environment.name}/{node.name}: 'talosctl validate --mode metal' refuses the config "
            f"in {environment.artifact.path}:\n{without_quotes(error.message)}",
            hint="Make the artifact again with the workflow and the talosctl that deploy it.",
        )
    # Where it cannot be said what is secret, that is the error, and the message is not shown.
    shown = disclosure.message(own, error.message)
    if _KERNEL_ARGUMENTS in error.message and (where := _kernel_arguments(own.patches)):
        return _unused_arguments(environment, node, where)
    patches = "\n".join(f"  {path}" for path in node.patches)
    return ValidationError(
        f"{environment.name}/{node.name}: 'talosctl validate --mode metal' refuses its machine "
        f"config {environment.paths.config(node)}:\n{shown}\n"
        f"It is made of these patches, later ones win:\n{patches}",
        hint=f"Fix the patch and run the same command again. Facts come from "
        f"{environment.env_file} and {node.env_file}.",
    )


def _kernel_arguments(layers: Sequence[Patch]) -> list[str]:
    """The places of machine.install.extraKernelArgs in a node's patches."""
    found = []
    for patch in layers:
        for number, document in enumerate(patch.documents):
            for keys, value in layout.found(document, layout.KERNEL_ARGUMENTS):
                if not value:
                    continue
                # Lines of encrypted files are not those that one edits.
                at = None if patch.secret else positions.of(patch.text).get((number, keys))
                found.append(f"{patch.path}:{at.line}" if at else str(patch.path))
    return found


def _unused_arguments(
    environment: Environment, node: Node, where: Sequence[str]
) -> ValidationError:
    """Kernel arguments in a config whose machine takes those of its image."""
    return ValidationError(
        f"{', '.join(where)}: machine.install.extraKernelArgs, for {environment.name}/{node.name}: "
        "Talos takes the kernel's arguments from its image (a UKI: systemd-boot, secure boot, and "
        "GRUB, too, with machine.install.grubUseUKICmdline, which new configs have)",
        hint="Move them into a schematic, customization.extraKernelArgs, and name it by "
        f"TALOS_SCHEMATIC in {environment.env_file} (docs/vms.md, Schematics).\n"
        "Only for a machine that boots by GRUB (BIOS), set "
        "machine.install.grubUseUKICmdline: false beside them instead.",
    )
