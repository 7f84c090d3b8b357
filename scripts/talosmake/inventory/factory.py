"""The Image Factory: what it makes for a node, and where it serves that.

Names are those of the factory's HTTP API and registry (siderolabs/image-factory: docs/api.md).
Which platforms there are, with which images, stands in ``config/schemas/platforms.json``, which
``make versions`` asks of Talos's own package (tools/platforms).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from talosmake.base.program import ROOT
from talosmake.inventory import endpoints

# Up to there Talos publishes an installer of its own (Talos's release notes of 1.14).
FIRST_WITHOUT_OWN_INSTALLER = (1, 14)
PUBLIC = "factory.talos.dev"
METAL, AMD64 = "metal", "amd64"
ARCHITECTURES = (AMD64, "arm64")
_PLAIN = "http://"
TABLE = ROOT / "config/schemas/platforms.json"


@dataclass(frozen=True)
class Factory:
    """An Image Factory.

    :ivar host: its name or address, with a port where it is not the usual one: the registry that
        installer images come from, too.
    :ivar plain: whether it is reached by http, without TLS.
    """

    host: str = PUBLIC
    plain: bool = False

    @property
    def url(self) -> str:
        """Where its API answers, without a slash at the end."""
        return f"{'http' if self.plain else 'https'}://{self.host}"


def parsed(text: str) -> Factory:
    """A factory as ``IMAGE_FACTORY`` names it: ``HOST``, ``HOST:PORT``, or that behind http://.

    :param text: one that :func:`is_named`.
    """
    return Factory(text.removeprefix(_PLAIN), plain=text.startswith(_PLAIN))


def is_named(text: str) -> bool:
    """Whether a text names a factory, in the one form of ``IMAGE_FACTORY``."""
    return _names_a_registry(text.removeprefix(_PLAIN))


def _names_a_registry(host: str) -> bool:
    """Whether a text may stand before the first slash of an image's name, and be asked by HTTP.

    Without a dot and a port it would be taken for a user's name at Docker Hub, and names of images
    have no capitals (distribution/reference: grammar).
    """
    endpoint = endpoints.parsed(host)
    if endpoint is None or host != host.lower() or host.endswith("."):
        return False
    if ":" in endpoint.host:
        return host.startswith("[")
    return "." in host or ":" in host or host == "localhost"


PUBLIC_FACTORY = Factory()


@dataclass(frozen=True)
class Platform:
    """A platform that Talos has images for.

    :ivar architectures: those that it has images for.
    :ivar boot: how its machines start: ``disk-image``, ``iso``, ``pxe``.
    :ivar disk_image: the end of its disk image's name, e.g. ``raw.zst``; "" for none.
    :ivar secure_boot: whether it has images for secure boot.
    :ivar since: the first Talos that has it, e.g. ``1.8.0-alpha.2``; "" for all.
    """

    name: str
    architectures: tuple[str, ...]
    boot: tuple[str, ...]
    disk_image: str
    secure_boot: bool
    since: str


@cache
def platforms() -> dict[str, Platform]:
    """All platforms by their names; one in capitals has no installer, as no image is named so."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        name: Platform(
            name,
            tuple(one["architectures"]),
            tuple(one["boot"]),
            one.get("diskImage", ""),
            one["secureBoot"],
            one.get("since", ""),
        )
        for name, one in table.items()
        if name == name.lower()
    }


@dataclass(frozen=True)
class Images:
    """What a factory makes of a schematic for a kind of machine. URLs are "" where there is none.

    :ivar schematic: its id, 64 hex digits.
    :ivar version: of Talos, e.g. ``v1.13.0``.
    :ivar platform: the name of one of :func:`platforms`.
    :ivar arch: one of ``ARCHITECTURES``.
    """

    schematic: str
    version: str
    factory: Factory = PUBLIC_FACTORY
    platform: str = METAL
    arch: str = AMD64
    secure_boot: bool = False

    @property
    def installer(self) -> str:
        """The image by which Talos writes itself to a disk; it has all architectures in it."""
        name = f"{self.platform}-installer{self._suffix}"
        return f"{self.factory.host}/{name}/{self.schematic}:{self.version}"

    @property
    def iso(self) -> str:
        """The URL of the ISO."""
        if "iso" not in platforms()[self.platform].boot:
            return ""
        return self._url(f"{self.platform}-{self.arch}{self._suffix}.iso")

    @property
    def disk_image(self) -> str:
        """The URL of the disk image."""
        platform = platforms()[self.platform]
        if "disk-image" not in platform.boot:
            return ""
        return self._url(f"{self.platform}-{self.arch}{self._suffix}.{platform.disk_image}")

    @property
    def kernel(self) -> str:
        """The URL of the kernel; the platform is one of its arguments."""
        return self._url(f"kernel-{self.arch}")

    @property
    def initramfs(self) -> str:
        """The URL of the initramfs that goes with :attr:`kernel`."""
        return self._url(f"initramfs-{self.arch}.xz")

    @property
    def _suffix(self) -> str:
        return "-secureboot" if self.secure_boot else ""

    def _url(self, name: str) -> str:
        return f"{self.factory.url}/image/{self.schematic}/{self.version}/{name}"
