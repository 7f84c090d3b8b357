"""Which images of the Image Factory's an environment, a role or a node asks for, by its facts.

The nearest file counts: node.env before the role's common.env, and that before cluster.env. A
schematic is named by its file or by its id, so one that is given nearer replaces the other, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.base.tools import numbers
from talosmake.inventory import envfile, factory, schematic, schematic_rules
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.factory import Factory, Images

FILE, ID = "TALOS_SCHEMATIC", "TALOS_SCHEMATIC_ID"
_PLATFORM, _ARCH, _SECURE_BOOT = "TALOS_PLATFORM", "TALOS_ARCH", "TALOS_SECURE_BOOT"
_FACTORY = "IMAGE_FACTORY"
NAMES = (FILE, ID, _PLATFORM, _ARCH, _SECURE_BOOT, _FACTORY)


@dataclass(frozen=True)
class Choice:
    """The images that a node, or all nodes without facts of their own, get.

    :ivar asked: whether a fact asks for the factory's installer; without one, Talos's own is taken
        as long as it is published.
    :ivar file: the schematic's file; None for one that is given by its id, or for none.
    :ivar kernel_arguments: those that the file adds.
    """

    images: Images
    asked: bool = False
    file: Path | None = None
    kernel_arguments: tuple[str, ...] = ()

    @property
    def installer(self) -> str:
        """The installer image; "" where Talos's own will do."""
        return self.images.installer if self.asked else ""


def over(base: Mapping[str, str], own: Mapping[str, str], path: Path) -> dict[str, str]:
    """Facts with those of a nearer file over them.

    :param own: of the nearer file.
    :param path: that file, for errors.
    :raises InventoryError: when it names a schematic in both ways.
    """
    if own.get(FILE) and own.get(ID):
        raise InventoryError(
            f"{envfile.place(path, ID)}: {FILE} and {ID} say the same",
            hint="Keep one: the file, or the id that the Image Factory gave you.",
        )
    names = own.keys() & {FILE, ID}
    return {k: v for k, v in base.items() if not names or k not in (FILE, ID)} | dict(own)


def read(facts: Facts, directory: Path) -> Choice:
    """What the facts ask for.

    :param directory: of the environment, which schematics' files are relative to.
    :raises InventoryError: for a fact, or a schematic, that is not of the right form.
    :raises ToolError: when the program that knows schematics is missing.
    """
    named, platform = facts.text(_FACTORY), facts.text(_PLATFORM)
    made_by = factory.parsed(named) if named else factory.PUBLIC_FACTORY
    path = directory / facts.text(FILE) if facts.text(FILE) else None
    text = _text_of(facts, path) if path else ""
    identifier = _id_of(text, path, made_by) if path else facts.text(ID)
    secure_boot = facts.yes(_SECURE_BOOT)
    images = Images(
        schematic=identifier or schematic.PLAIN,
        version=str(facts.given.get("TALOS_VERSION", "")),
        factory=made_by,
        platform=platform,
        arch=facts.text(_ARCH),
        secure_boot=secure_boot,
    )
    asked = bool(identifier or named or secure_boot or platform != factory.METAL)
    return Choice(images, asked, path, schematic_rules.kernel_arguments(text))


def with_id(facts: Mapping[str, str], choice: Choice) -> dict[str, str]:
    """The facts with the id of the schematic that a file among them has, for patches to name."""
    return dict(facts) | ({ID: choice.images.schematic} if choice.file else {})


def named_in(files: Sequence[Path]) -> Path | None:
    """The env file that names the schematic; None where none does.

    :param files: where a node's facts may stand, the nearest first.
    """
    return next((path for path in files if envfile.read(path).keys() & {FILE, ID}), None)


def check(choice: Choice, node: str, facts: Facts) -> None:
    """Refuse images that the factory does not make.

    :param node: whose they are, for messages.
    :param facts: the node's.
    :raises InventoryError: with file and line.
    """
    images = choice.images
    platform = factory.platforms()[images.platform]
    if images.arch not in platform.architectures:
        raise facts.wrong(
            _ARCH if facts.given.get(_ARCH) else _PLATFORM,
            f"there are no images for {platform.name} on {images.arch} ({node})",
            f"{platform.name} has them for {' and '.join(platform.architectures)}.",
        )
    if images.secure_boot and not platform.secure_boot:
        able = sorted(name for name, one in factory.platforms().items() if one.secure_boot)
        raise facts.wrong(
            _SECURE_BOOT,
            f"there are no images for secure boot on {platform.name} ({node})",
            f"There are some for {', '.join(able)}.",
        )
    if numbers(images.version)[:2] < numbers(platform.since)[:2]:
        raise facts.wrong(
            _PLATFORM,
            f"Talos has images for it from {platform.since} on, and {node} gets {images.version}",
        )
    if choice.file:
        _check_secure_boot(choice.file, node, facts, secure_boot=images.secure_boot)


def _check_secure_boot(path: Path, node: str, facts: Facts, *, secure_boot: bool) -> None:
    text = path.read_text(encoding="utf-8")
    given = _SECURE_BOOT in facts.given
    setting = facts.place(_SECURE_BOOT) if given else str(facts.files[-1])
    schematic_rules.check_secure_boot(text, path, node, setting, secure_boot=secure_boot)


def _text_of(facts: Facts, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise facts.wrong(
            FILE,
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}",
            f"It names a YAML file in {path.parent}, e.g. {FILE}=schematic.yaml",
        ) from None


def _id_of(text: str, path: Path, made_by: Factory) -> str:
    identifier = schematic.schematic_id(text, path, made_by)
    schematic_rules.check(text, path)
    return identifier
