"""What a node's machine config is made of: its patches as they apply, and the secrets bundle.

Each job reads it once, and hands it to all that look at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from talosmake.base.errors import PatchError
from talosmake.inventory import known_facts, versions
from talosmake.inventory.model import Cluster, Environment, Node, Role
from talosmake.patches import layout, placeholders, positions
from talosmake.patches.inject import inject, names
from talosmake.patches.patch import Patch, parse
from talosmake.patches.positions import Keys, Position
from talosmake.render import cilium, manifests
from talosmake.render.fit import check_documents, check_role, hostname_patch
from talosmake.secrets import bundles

_ENCRYPTED = ".sops.yaml"


@dataclass(frozen=True)
class Layer:
    """One patch file as it is applied to a node.

    :ivar raw: its text before ``${NAME}`` is replaced; as it is applied where nobody wrote it, or
        it is encrypted.
    :ivar generated: it was made by the workflow, so that nobody can fix it.
    """

    patch: Patch
    raw: str = ""
    generated: bool = False

    @property
    def path(self) -> Path:
        return self.patch.path

    @property
    def is_plain(self) -> bool:
        """Whether somebody wrote it, and everybody may read it: its lines can be named."""
        return not self.generated and not self.patch.secret

    def position(self, document: int, keys: Keys) -> Position | None:
        """Where and how a key is written; the nearest key above where it has no place."""
        found = positions.of(self.raw)
        for end in range(len(keys), 0, -1):
            if (document, keys[:end]) in found:
                return found[document, keys[:end]]
        return None

    def where(self, document: int, keys: Keys) -> str:
        """``FILE:LINE`` of a key. Lines of encrypted files are not those that one edits."""
        position = None if self.patch.secret else self.position(document, keys)
        return f"{self.path}:{position.line}" if position else str(self.path)


@dataclass(frozen=True)
class NodeLayers:
    """What a node's config is made of; each file is read when it is first asked for, and once.

    What is asked for raises PatchError for a patch that does not parse, names something unknown or
    does not fit the node's role, and SecretsError when the bundle or an encrypted patch cannot be
    decrypted.
    """

    environment: Environment
    node: Node

    @property
    def name(self) -> str:
        """The node as messages name it."""
        return f"{self.environment.name}/{self.node.name}"

    @property
    def cluster(self) -> Cluster:
        """The cluster as the node's config is generated for it."""
        return self.environment.cluster_of(self.node)

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """All layers in the order they apply, the workflow's own included.

        Files that say nothing are left out: talosctl takes them for empty JSON6902 patches, which
        do not work on configs of several documents.
        """
        return [layer for layer in _read_all(self) if layer.patch.documents]

    @cached_property
    def patches(self) -> Sequence[Patch]:
        """The same as talosctl gets them."""
        return [layer.patch for layer in self.layers]

    @cached_property
    def bundle(self) -> bytes:
        """The decrypted secrets bundle."""
        return bundles.bundle_of(self.environment)

    @property
    def encrypted(self) -> Sequence[Patch]:
        """The patches that come out of encrypted files."""
        return [patch for patch in self.patches if patch.secret]

    def is_shared(self, path: Path) -> bool:
        """Whether a patch reaches nodes of both roles."""
        return path.parent in (self.environment.directory, Path("patches"))


def _read_all(own: NodeLayers) -> list[Layer]:
    environment, node = own.environment, own.node
    written = [_read(own, path) for path in node.patches]
    patches = [layer.patch for layer in written]
    for patch in patches:
        check_role(patch, node.role, shared=own.is_shared(patch.path))
    hostname = hostname_patch(patches, node.hostname, environment.cluster.contract)
    generated = parse(hostname, Path(f"(host name of {node.name})"))
    made = [*_cilium_layers(own, patches), generated]
    layers = [*(Layer(patch, patch.text, generated=True) for patch in made), *written]
    all_patches = [*made, *patches]
    check_documents(all_patches, environment.cluster.contract, node.role)
    versions.check_documents(all_patches, environment.cluster.talos_version)
    if node.role is Role.CONTROLPLANE:
        _check_manifests(all_patches, patches)
    return layers


def _cilium_layers(own: NodeLayers, patches: Sequence[Patch]) -> Iterator[Patch]:
    """The layers that bring Cilium, below all others; what contradicts them is refused."""
    environment = own.environment
    if environment.cilium is None:
        return
    for patch in patches:
        cilium.check_patch(environment, patch)
    network = cilium.network_layer(environment.cluster.contract, own.node.role)
    yield parse(network, Path(f"(CNI_INSTALL in {environment.env_file})"))
    if own.node.role is Role.CONTROLPLANE:
        path = environment.paths.cilium
        yield parse(_read_bytes(path).decode(), path)


def _check_manifests(layers: Sequence[Patch], patches: Sequence[Patch]) -> None:
    """Check a person's own inline manifests, beside Cilium's, which were checked when made."""
    if any(cilium.inline_manifests(patch) for patch in patches):
        manifests.check(
            [manifest for layer in layers for manifest in cilium.inline_manifests(layer)],
            more_elsewhere=any(
                layout.value(patch.documents, layout.EXTRA_MANIFESTS) for patch in patches
            ),
        )


def _read(own: NodeLayers, path: Path) -> Layer:
    facts, encrypted = own.node.facts, path.name.endswith(_ENCRYPTED)
    if encrypted:
        raw = bundles.plaintext_of(path, bundles.key_file(own.environment))
    else:
        raw = _read_bytes(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PatchError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if encrypted:
        _check_names(text, path)
    patch = parse(inject(text, facts, path), path, secret=encrypted)
    placeholders.check_patch(patch, text, facts)
    if not encrypted and any("sops" in document for document in patch.documents):
        raise PatchError(
            f"{path}: is encrypted with sops, but its name does not say so",
            hint=f"Rename it to {path.stem}.sops.yaml: only such files are decrypted.",
        )
    return Layer(patch, patch.text if encrypted else _with_line_ends(text))


def _with_line_ends(text: str) -> str:
    """The text with line ends as Python reads them, by which lines are looked for."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
