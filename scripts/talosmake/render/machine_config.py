"""From patches and bundle to the machine config of one node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from talosmake.base import files
from talosmake.base.errors import PatchError
from talosmake.base.redact import redact, secret_scalars, without_quotes
from talosmake.base.yamls import lookup
from talosmake.inventory import known_facts, versions
from talosmake.inventory.model import Cluster, Environment, Node, Role
from talosmake.patches import layout, placeholders, positions
from talosmake.patches.inject import inject, names
from talosmake.patches.patch import Patch, parse
from talosmake.render import cilium, collisions, hints, identity, manifests
from talosmake.render.fit import check_documents, check_role, hostname_patch
from talosmake.secrets import bundles
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
    bundle = bundles.bundle_of(environment)
    layers = read_layers(environment, node)
    try:
        config = _generate(environment, node, bundle, layers)
    except PatchError as error:
        raise _blamed(environment, node, bundle, layers, error) from None
    parsed = identity.documents(config)
    if found := collisions.of_config(parsed.values()):
        raise collisions.refused(
            found,
            layers,
            environment.cluster.contract,
            f"{environment.name}/{node.name}",
            str(environment.env_file),
        )
    _check_identity(environment, node, parsed, layers)
    if len(config) > _LARGEST:
        raise PatchError(
            f"{environment.name}/{node.name}: the machine config has {len(config)} bytes, and "
            f"Talos's maintenance API takes {_LARGEST} at most. The biggest parts:\n"
            + "\n".join(_biggest(layers)),
            hint="Make them smaller; let the cluster fetch what is large.",
        )
    return config


def stages(environment: Environment, node: Node, layers: Sequence[Patch]) -> Iterator[bytes]:
    """The node's config without its layers, and after each of them.

    :param layers: from :func:`read_layers`.
    """
    bundle = bundles.bundle_of(environment)
    for count in range(len(layers) + 1):
        yield _generate(environment, node, bundle, layers[:count])


def write_config(environment: Environment, node: Node) -> None:
    """Render a node's machine config into its file."""
    config = render(environment, node)
    files.output_directory(environment.paths.root)
    files.write_atomically(environment.paths.config(node), config)


def read_layers(environment: Environment, node: Node) -> list[Patch]:
    """The node's patches in the order they apply, decrypted, with ``${NAME}`` replaced.

    Files that say nothing are left out: talosctl takes them for empty JSON6902 patches, which do
    not work on configs of several documents.
    """
    patches = [_read(environment, node, path) for path in node.patches]
    for patch in patches:
        check_role(patch, node.role, shared=_is_shared(environment, patch.path))
    hostname = hostname_patch(patches, node.hostname, environment.cluster.contract)
    generated = parse(hostname, Path(f"(host name of {node.name})"))
    layers = [*_cilium_layers(environment, node, patches), generated, *patches]
    check_documents(layers, environment.cluster.contract, node.role)
    versions.check_documents(layers, environment.cluster.talos_version)
    if node.role is Role.CONTROLPLANE:
        _check_manifests(layers, patches)
    return [patch for patch in layers if patch.documents]


def _cilium_layers(environment: Environment, node: Node, patches: Sequence[Patch]) -> list[Patch]:
    """The layers that bring Cilium, below all others; what contradicts them is refused."""
    if environment.cilium is None:
        return []
    for patch in patches:
        cilium.check_patch(environment, patch)
    network = cilium.network_layer(environment.cluster.contract, node.role)
    layers = [parse(network, Path(f"(CNI_INSTALL in {environment.env_file})"))]
    if node.role is Role.CONTROLPLANE:
        path = environment.paths.cilium
        layers.append(parse(_read_bytes(path).decode(), path))
    return layers


def _check_manifests(layers: Sequence[Patch], patches: Sequence[Patch]) -> None:
    """Check a person's own inline manifests, beside Cilium's, which were checked when made."""
    if any(cilium.inline_manifests(patch) for patch in patches):
        manifests.check(
            [manifest for layer in layers for manifest in cilium.inline_manifests(layer)],
            more_elsewhere=any(
                layout.values(patch.documents, layout.EXTRA_MANIFESTS) for patch in patches
            ),
        )


def _biggest(layers: Sequence[Patch]) -> list[str]:
    """The five largest inline manifests and files in the layers, else the largest layers."""
    parts = [
        (len(text.encode()), f"{label} {name} ({layer.path})")
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


def known_secrets(environment: Environment, node: Node, layers: Sequence[Patch]) -> list[str]:
    """The secret values behind a node's config, to be kept out of messages about it.

    :param layers: from :func:`read_layers`, as they are applied: values and their form may come
        from facts.
    :raises SecretsError: when the bundle cannot be had.
    """
    bundle = bundles.secret_values(bundles.bundle_of(environment))
    return [*bundle, *patch_secrets(node, layers)]


def patch_secrets(node: Node, layers: Sequence[Patch]) -> list[str]:
    """The lines of the values that encrypted patches set.

    A fact that one names is no secret: it stands in the clear in an env file.
    """
    values = (
        value
        for patch in layers
        if patch.secret
        for document in patch.documents
        for value in secret_scalars(document)
    )
    facts = set(node.facts.values())
    lines = (line.strip() for value in values for line in value.splitlines())
    return [line for line in lines if line not in facts]


def _is_shared(environment: Environment, path: Path) -> bool:
    """Whether a patch reaches nodes of both roles."""
    return path.parent in (environment.directory, Path("patches"))


def _read(environment: Environment, node: Node, path: Path) -> Patch:
    encrypted = path.name.endswith(".sops.yaml")
    if encrypted:
        raw = bundles.plaintext_of(path, bundles.key_file(environment))
    else:
        raw = _read_bytes(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PatchError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if encrypted:
        _check_names(text, path)
    patch = parse(inject(text, node.facts, path), path, secret=encrypted)
    placeholders.check_patch(patch, text, node.facts)
    if not encrypted and any("sops" in document for document in patch.documents):
        raise PatchError(
            f"{path}: is encrypted with sops, but its name does not say so",
            hint=f"Rename it to {path.stem}.sops.yaml: only such files are decrypted.",
        )
    return patch


def _check_names(text: str, path: Path) -> None:
    """Refuse facts in an encrypted patch whose change would not be seen to reach it.

    What it names is known only once it is decrypted, see :func:`talosmake.render.sources.of_node`.
    """
    if hidden := sorted(names(text) & known_facts.of_the_run()):
        raise PatchError(
            f"{path}: an encrypted patch cannot name {', '.join(hidden)}",
            hint="Such a fact says how the workflow works, and a change of it renders no node.\n"
            f"Give the value a name of your own, e.g. MY_{hidden[0]}, or name it in a plain patch.",
        )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PatchError(f"{path}: cannot be read: {error.strerror}") from None


def _generate(
    environment: Environment, node: Node, bundle: bytes, layers: Sequence[Patch]
) -> bytes:
    texts = [layer.text for layer in layers]
    return generate.gen_config(environment.cluster_of(node), node.role, bundle, texts)


@cache
def base_of(cluster: Cluster, role: Role, bundle: bytes) -> bytes:
    """The config of a role without any layer."""
    return generate.gen_config(cluster, role, bundle, [])


def _check_identity(
    environment: Environment,
    node: Node,
    config: Mapping[identity.Document, Any],
    layers: Sequence[Patch],
) -> None:
    """Refuse a config of another cluster, with the patches that make it one."""
    bundle = bundles.bundle_of(environment)
    found = identity.differences(
        config,
        identity.documents(base_of(environment.cluster_of(node), node.role, bundle)),
        identity.documents(bundle).get(("", "")),
        secret=not environment.stand_in,
    )
    if found:
        stages_ = [identity.documents(stage) for stage in stages(environment, node, layers)]
        raise identity.refused(
            [(place, _place(layers[identity.layer_of(stages_, place)], place)) for place in found],
            f"{environment.name}/{node.name}",
            str(environment.bundle),
            str(environment.env_file),
        )


def _place(patch: Patch, place: identity.Difference) -> str:
    """The file that sets a place, with its line where that can be told."""
    # Lines of encrypted files are not those that one edits.
    found = {} if patch.secret else positions.of(_read_bytes(patch.path).decode())
    for number, document in enumerate(patch.documents):
        if identity.of(document) == place.document:
            for end in range(len(place.keys), 0, -1):
                if (number, place.keys[:end]) in found:
                    return f"{patch.path}:{found[number, place.keys[:end]].line}"
    return str(patch.path)


def _blamed(
    environment: Environment,
    node: Node,
    bundle: bytes,
    layers: Sequence[Patch],
    error: PatchError,
) -> PatchError:
    """The error with the file that causes it: talosctl does not say which patch it refuses.

    The layers are applied one more at a time until talosctl refuses; 40 ms each, on failure only.
    """
    known = known_secrets(environment, node, layers)
    for count in range(len(layers) + 1):
        try:
            _generate(environment, node, bundle, layers[:count])
        except PatchError as refused:
            hint = hints.of_refusal(refused.message)
            if not count:
                where = f"{environment.env_file} or {environment.bundle}"
                message = redact(refused.message, known)
            else:
                culprit = layers[count - 1]
                if talosctl.CRASHED in refused.message:
                    return _crashed(environment, node, culprit)
                where, message = str(culprit.path), _shown(refused.message, culprit, known)
                if hints.deletes_what_is_absent(refused.message):
                    hint = _hint_of_other_role(environment, node, bundle, layers[:count]) or hint
            return PatchError(
                f"{where}: talosctl refuses it for {environment.name}/{node.name}:\n{message}",
                hint=hint,
            )
    return error


def _hint_of_other_role(
    environment: Environment, node: Node, bundle: bytes, layers: Sequence[Patch]
) -> str:
    """Where a patch that both roles share belongs, if it deletes what the other role alone has."""
    if not _is_shared(environment, layers[-1].path):
        return ""
    other = next(role for role in Role if role is not node.role)
    try:
        generate.gen_config(
            environment.cluster_of(node), other, bundle, [layer.text for layer in layers]
        )
    except PatchError:
        return ""
    directory = environment.directory / other.directory
    return hints.of_other_role(str(directory), other.directory.replace("_", " "))


def _crashed(environment: Environment, node: Node, patch: Patch) -> PatchError:
    """Talosctl crashed on a patch; what it prints then helps nobody but its authors."""
    raw = patch.text if patch.secret else _read_bytes(patch.path).decode()
    nulls = sorted({position.line for position in positions.of(raw).values() if position.null})
    said = f" (null is in line {', '.join(map(str, nulls))})" if nulls and not patch.secret else ""
    return PatchError(
        f"{patch.path}: talosctl crashes on it{said} for {environment.name}/{node.name}",
        hint="It is known to crash on null for what an earlier layer, or Talos, has set in a "
        "mapping of free form (extraConfig, scheduler.config, admissionControl). Write the value "
        f"that it should have, or delete it:  KEY: {{$patch: delete}}. {hints.DELETE_ITEM}",
    )


def _shown(message: str, patch: Patch, known: Sequence[str]) -> str:
    return without_quotes(message) if patch.secret else redact(message, known)
