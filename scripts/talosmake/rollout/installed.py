"""Which Talos a node runs, and which one Git says.

The installer image of a machine config is read when Talos is installed. A new one in the config of
a running node changes nothing (Talos docs: Upgrading Talos Linux), so the node itself is asked.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from talosmake.base.errors import NodeError, TalosmakeError
from talosmake.base.redact import REDACTED
from talosmake.inventory import image_facts
from talosmake.inventory.model import Cluster, Environment, Node
from talosmake.inventory.schematic import PLAIN
from talosmake.patches import layout
from talosmake.render import disclosure
from talosmake.render.layers import NodeLayers
from talosmake.talos.observe import documents, judged, secure_api
from talosmake.talos.talosctl import CallError, RunningTalos

# The image, which the node itself is asked for, and what only says which document it is.
_NO_SETTINGS = ("image", "installer", "apiVersion", "kind")
# The extension by which the Image Factory names an image's schematic
# (siderolabs/image-factory: SchematicIDExtensionName).
_EXTENSION = "schematic"
_TAG = re.compile(r"v?(\d+\.\d+\.\d+(?:-(?:alpha|beta|rc)\.\d+)?)")
_FACTORY_IMAGE = re.compile(r"/(?P<installer>[a-z0-9-]*installer[a-z0-9-]*)/(?P<id>[0-9a-f]{64})$")
_PLAIN_IMAGE = re.compile(r"(^|/)siderolabs/installer$")
_SHORT = 12
NOT_READ = (
    "Talos reads this when it writes itself to the disk: at its install, some of it at an upgrade; "
    "the running node is as before (docs/day-2.md)"
)
HOW = (
    "A new config changes no running Talos; 'talosctl upgrade' does: one node at a time, the next "
    "control plane when etcd is healthy again (docs/day-2.md)"
)


@dataclass(frozen=True)
class Talos:
    """A build of Talos.

    :ivar version: e.g. ``v1.13.0``.
    :ivar schematic: the Image Factory's id, ``PLAIN`` (inventory.schematic) for an image without
        extensions; "" where nobody knows.
    :ivar image: the installer that brings it; "" for what a node runs.
    """

    version: str
    schematic: str
    image: str = ""

    def __str__(self) -> str:
        named = self.schematic and self.schematic != PLAIN
        return f"{self.version}, {_named(self.schematic)}" if named else self.version


@dataclass(frozen=True)
class Difference:
    """What a node runs is not what Git says.

    :ivar runs: as it says itself.
    :ivar wanted: as Git says.
    """

    runs: Talos
    wanted: Talos

    @property
    def version(self) -> bool:
        """Whether the versions differ."""
        return _plain(self.runs.version) != _plain(self.wanted.version)

    @property
    def schematic(self) -> bool:
        """Whether the schematics differ, as far as Git names one."""
        return bool(self.wanted.schematic) and self.runs.schematic != self.wanted.schematic

    @property
    def in_short(self) -> str:
        """As the table of nodes has it: ``v1.13.0 (Git: v1.13.6)``."""
        both = [
            [talos.version] * self.version + [_named(talos.schematic)] * self.schematic
            for talos in (self.runs, self.wanted)
        ]
        runs = both[0] if self.version else [self.runs.version, *both[0]]
        return f"{', '.join(runs)} (Git: {', '.join(both[1])})"

    def __str__(self) -> str:
        """In words, to go on with after "runs"."""
        parts = []
        if self.version:
            parts.append(f"Talos {self.runs.version}, Git says {self.wanted.version}")
        if self.schematic:
            runs, wanted = _named(self.runs.schematic), _named(self.wanted.schematic)
            parts.append(f"{runs}, Git says {wanted}")
        return "; ".join(parts)


def _plain(version: str) -> str:
    return version.removeprefix("v")


def _named(schematic: str) -> str:
    """A schematic as messages name it."""
    if not schematic:
        return "extensions of no schematic"
    return "no extensions" if schematic == PLAIN else f"schematic {schematic[:_SHORT]}…"


def wanted(cluster: Cluster, config: bytes) -> Talos:
    """The Talos that a machine config's installer image brings.

    :param config: the rendered machine config; b"" to go by ``cluster.env`` alone.
    """
    found = layout.value(documents(config), layout.INSTALL_IMAGE)
    image = str(found or cluster.installer_image)
    tag = _without_digest(image).rpartition("/")[2].partition(":")[2]
    repository = _without_digest(image).removesuffix(f":{tag}")
    version = _TAG.fullmatch(tag)
    factory = _FACTORY_IMAGE.search(repository)
    plain = PLAIN if _PLAIN_IMAGE.search(repository) else ""
    return Talos(
        f"v{version[1]}" if version else cluster.talos_version,
        factory["id"] if factory else plain,
        image,
    )


def not_read(running: bytes, config: bytes) -> list[str]:
    """Settings of the installation that differ and that a running Talos does not look at.

    All but the image, whose version and schematic the node itself is asked for. Talos reads them
    when it writes itself to the disk (Talos docs: InstallConfig), so a node that was sent them
    shows them and is as before.

    :param running: the config that the node runs with.
    :param config: the one that it is to have.
    """
    old, new = _install(running), _install(config)
    return sorted(label for label in old.keys() | new.keys() if old.get(label) != new.get(label))


def _install(config: bytes) -> dict[str, object]:
    """The settings of the installation but the image, by what messages call them."""
    return {
        layout.Place(layout.kind_of(document), (*keys, key)).label: value
        for document in documents(config)
        for keys, install in layout.found(document, layout.INSTALL)
        if isinstance(install, dict)
        for key, value in install.items()
        if key not in _NO_SETTINGS
    }


def _without_digest(image: str) -> str:
    return image.partition("@")[0]


def runs(answer: RunningTalos) -> Talos:
    """The Talos that a node runs, by what it says of itself.

    A node whose image is not the Image Factory's names no schematic. Without any extension it is as
    good as the factory's plain one; else nobody knows, and no schematic in Git is the same.
    """
    named = [version for name, version in answer.extensions if name == _EXTENSION]
    if named:
        return Talos(answer.version, named[0])
    return Talos(answer.version, "" if answer.extensions else PLAIN)


def difference(running: Talos, git: Talos) -> Difference | None:
    """How what a node runs differs from what Git says; None where it does not."""
    found = Difference(running, git)
    return found if found.version or found.schematic else None


def ask(environment: Environment, node: Node) -> Talos:
    """Ask a running node for its Talos: two calls; nothing is changed.

    :raises NodeError: when it does not say.
    """
    try:
        said = secure_api(environment, node).running_talos()
    except CallError as error:
        raise judged(environment, node, error) from None
    if not said.version:
        raise NodeError(f"{environment.name}/{node.name}: does not say which Talos it runs")
    return runs(said)


def to_do(own: NodeLayers, found: Difference) -> list[str]:
    """What a person does so that a node runs what Git says, as lines of advice."""
    environment, node = own.environment, own.node
    if environment.cluster.lab:
        return [
            "a lab's nodes run the Talos that they were built of and cannot be upgraded: write "
            f"TALOS_VERSION={found.runs.version} into {environment.env_file}"
        ]
    lines = [upgrade_command(own, found.wanted)]
    if found.schematic and node.chosen and node.chosen.file:
        lines.append(
            f"the Image Factory has to know {node.chosen.file} first: snakemake schematics "
            f"--config env={environment.name} submit=true"
        )
    if _minors_apart(found) > 1:
        lines.append(
            f"from {found.runs.version} by way of the newest patch of each minor version between"
        )
    if found.schematic and found.wanted.schematic == PLAIN and found.runs.schematic:
        lines.append(_to_keep(environment, node, found.runs.schematic))
    return lines


def _to_keep(environment: Environment, node: Node, schematic: str) -> str:
    """How a node keeps its schematic: by a line where it counts, as nearer files win."""
    file = image_facts.named_in(node.env_files) or environment.env_file
    own = "" if file == node.env_file else f" (for this node alone: {node.env_file})"
    return (
        f"which takes its extensions away; to keep them, write TALOS_SCHEMATIC_ID={schematic} "
        f"into {file}{own}"
    )


def upgrade_command(own: NodeLayers, git: Talos) -> str:
    """The call of talosctl that upgrades this node and no other to what Git says."""
    environment, node = own.environment, own.node
    # Simulated nodes have no Kubernetes to be drained from.
    drain = " --drain=false" if environment.cluster.simulated else ""
    image = shlex.quote(_shown(own, git.image))
    talosconfig = shlex.quote(str(environment.paths.talosconfig))
    return f"talosctl upgrade --image {image} {node.target} --talosconfig {talosconfig}{drain}"


def _shown(own: NodeLayers, image: str) -> str:
    """The installer image as it may be shown: an encrypted patch may set it."""
    encrypted = any(path.name.endswith(".sops.yaml") for path in own.node.patches)
    if image == own.environment.cluster_of(own.node).installer_image or not encrypted:
        return image
    try:
        secrets = disclosure.secrets_of(own)
        secret = any(
            secrets.hides((place.kind, ""), place.keys, image)
            for place in layout.INSTALL_IMAGE.places
        )
    except TalosmakeError:
        secret = True
    return REDACTED if secret else image


def _minors_apart(found: Difference) -> int:
    one, other = (
        [int(part) for part in re.findall(r"\d+", version)[:2]]
        for version in (found.runs.version, found.wanted.version)
    )
    return abs(other[1] - one[1]) if one[:1] == other[:1] and len(one) == len(other) == 2 else 0
