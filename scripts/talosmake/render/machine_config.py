"""From patches and bundle to the machine config of one node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from talosmake.base import files
from talosmake.base.errors import PatchError
from talosmake.base.redact import REDACTED, without_quotes
from talosmake.base.yamls import lookup
from talosmake.inventory.model import Cluster, Environment, Node, Role
from talosmake.patches import layout, positions
from talosmake.patches.patch import Patch
from talosmake.render import collisions, disclosure, hints, identity
from talosmake.render.layers import Layer, NodeLayers
from talosmake.talos import generate, talosctl

# The maintenance API takes no larger message.
_LARGEST = 4 * 1024 * 1024


def render(environment: Environment, node: Node) -> bytes:
    """The machine config of a node: the same bytes for the same input, everywhere.

    :raises PatchError: for a patch that does not parse, names something unknown, does not fit the
        node's role, is refused by talosctl, or makes the node one of another cluster; with the file
        it stands in.
    :raises SecretsError: when the bundle or an encrypted patch cannot be had.
    """
    own = NodeLayers(environment, node)
    bundle, layers = own.bundle, own.layers  # the bundle first: without it there is nothing to do
    try:
        config = _generate(own, len(layers))
    except PatchError as error:
        raise _blamed(own, error) from None
    parsed = identity.documents(config)
    if found := collisions.of_config(parsed.values()):
        raise collisions.refused(
            found,
            own.patches,
            environment.cluster.contract,
            own.name,
            str(environment.env_file),
        )
    _check_identity(own, bundle, parsed)
    if len(config) > _LARGEST:
        raise PatchError(
            f"{own.name}: the machine config has {len(config)} bytes, and "
            f"Talos's maintenance API takes {_LARGEST} at most. The biggest parts:\n"
            + "\n".join(_biggest(own.patches)),
            hint="Make them smaller; let the cluster fetch what is large.",
        )
    return config


def stages(own: NodeLayers) -> Iterator[bytes]:
    """The node's config without its layers, and after each of them."""
    for count in range(len(own.layers) + 1):
        yield _generate(own, count)


def write_config(environment: Environment, node: Node) -> None:
    """Render a node's machine config into its file."""
    config = render(environment, node)
    files.output_directory(environment.paths.root)
    files.write_atomically(environment.paths.config(node), config)


def _biggest(layers: Sequence[Patch]) -> list[str]:
    """The five largest inline manifests and files in the layers, else the largest layers."""
    parts = [
        (len(text.encode()), f"{label} {REDACTED if layer.secret else name} ({layer.path})")
        for layer in layers
        for document in layer.documents
        for label, name, text in _large_parts(document)
    ]
    parts += [(len(layer.text.encode()), f"all of {layer.path}") for layer in layers if not parts]
    largest = sorted(parts, key=lambda part: part[0], reverse=True)[:5]
    return [f"  {size:>9} bytes: {what}" for size, what in largest]


def _large_parts(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The texts of any size in a document: what each is, its name, and the text itself."""
    for name, text in layout.inline_manifests(document):
        yield "inline manifest", name, text
    files_ = lookup(document, "machine", "files")
    for entry in files_ if isinstance(files_, list) else ():
        yield "file", str(lookup(entry, "path")), str(lookup(entry, "content"))
    if layout.kind_of(document) == "EtcFileConfig":
        yield "file", str(lookup(document, "name")), str(lookup(document, "contents"))


def _generate(own: NodeLayers, count: int) -> bytes:
    """The config with so many layers, the lowest ones."""
    texts = [patch.text for patch in own.patches[:count]]
    return generate.gen_config(own.cluster, own.node.role, own.bundle, texts)


@cache
def base_of(cluster: Cluster, role: Role, bundle: bytes) -> bytes:
    """The config of a role without any layer."""
    return generate.gen_config(cluster, role, bundle, [])


def _check_identity(
    own: NodeLayers, bundle: bytes, config: Mapping[identity.Document, Any]
) -> None:
    """Refuse a config of another cluster, with the patches that make it one."""
    environment = own.environment
    found = identity.differences(
        config,
        identity.documents(base_of(own.cluster, own.node.role, bundle)),
        identity.documents(bundle).get(("", "")),
        secret=not environment.stand_in,
    )
    if found:
        seen = [identity.documents(stage) for stage in stages(own)]
        raise identity.refused(
            [(place, _place(own.layers[identity.layer_of(seen, place)], place)) for place in found],
            own.name,
            str(environment.bundle),
            str(environment.env_file),
        )


def _place(layer: Layer, place: identity.OtherCluster) -> str:
    """The file that sets a place, with its line where that can be told."""
    for number, document in enumerate(layer.patch.documents):
        if identity.of(document) == place.document and layer.position(number, place.keys):
            return layer.where(number, place.keys)
    return str(layer.path)


def _blamed(own: NodeLayers, error: PatchError) -> PatchError:
    """The error with the file that causes it: talosctl does not say which patch it refuses.

    The layers are applied one more at a time until talosctl refuses; 40 ms each, on failure only.
    """
    environment = own.environment
    for count in range(len(own.layers) + 1):
        try:
            _generate(own, count)
        except PatchError as refused:
            hint = hints.of_refusal(refused.message, environment.cluster.talosctl)
            if not count:
                where = f"{environment.env_file} or {environment.bundle}"
                message = disclosure.message(own, refused.message)
            else:
                culprit = own.layers[count - 1]
                if talosctl.CRASHED in refused.message:
                    return _crashed(own, culprit)
                where, message = str(culprit.path), _shown(own, refused.message, culprit)
                if hints.deletes_what_is_absent(refused.message):
                    hint = _hint_of_other_role(own, count) or hint
            return PatchError(
                f"{where}: talosctl refuses it for {own.name}:\n{message}",
                hint=hint,
            )
    return error


def _hint_of_other_role(own: NodeLayers, count: int) -> str:
    """Where a patch that both roles share belongs, if it deletes what the other role alone has."""
    if not own.is_shared(own.layers[count - 1].path):
        return ""
    other = next(role for role in Role if role is not own.node.role)
    texts = [patch.text for patch in own.patches[:count]]
    try:
        generate.gen_config(own.cluster, other, own.bundle, texts)
    except PatchError:
        return ""
    directory = own.environment.directory / other.directory
    return hints.of_other_role(str(directory), other.directory.replace("_", " "))


def _crashed(own: NodeLayers, layer: Layer) -> PatchError:
    """Talosctl crashed on a patch; what it prints then helps nobody but its authors."""
    found = positions.of(layer.raw).values() if not layer.patch.secret else ()
    nulls = sorted({position.line for position in found if position.null})
    said = f" (null is in line {', '.join(map(str, nulls))})" if nulls else ""
    return PatchError(
        f"{layer.path}: talosctl crashes on it{said} for {own.name}",
        hint="It is known to crash on null for what an earlier layer, or Talos, has set in a "
        "mapping of free form (extraConfig, scheduler.config, admissionControl). Write the value "
        f"that it should have, or delete it:  KEY: {{$patch: delete}}. {hints.DELETE_ITEM}",
    )


def _shown(own: NodeLayers, message: str, layer: Layer) -> str:
    return without_quotes(message) if layer.patch.secret else disclosure.message(own, message)
