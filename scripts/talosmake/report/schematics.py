"""Which images each node gets, and registering schematics at the Image Factory that makes them.

The factory serves images of schematics alone that somebody has sent it: it answers with the id of
what it was sent (siderolabs/image-factory: docs/api.md, POST /schematics), which has to be ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from talosmake.base import fetch
from talosmake.base.errors import FactoryError, SecretsError
from talosmake.inventory import schematic_rules
from talosmake.inventory.factory import PUBLIC_FACTORY, Factory, Images
from talosmake.inventory.image_facts import Choice
from talosmake.inventory.model import Cluster, Environment, Node
from talosmake.inventory.schematic import PLAIN
from talosmake.secrets import plain

# What the factory is sent for the schematic that changes nothing.
_PLAIN_TEXT = b"customization: {}\n"
# The most to wait for the factory's answer, in seconds.
_TIMEOUT = 30.0
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Group:
    """Nodes that get the same images.

    :ivar installer: the image in their machine configs, where no patch sets another.
    """

    nodes: tuple[Node, ...]
    chosen: Choice
    installer: str


def groups(environment: Environment) -> list[Group]:
    """The nodes by the images that they get, in the order of the first of each."""
    found: dict[tuple[Choice, str], list[Node]] = {}
    for node in environment.nodes:
        chosen = node.chosen or environment.chosen or _of_cluster(environment.cluster)
        installer = environment.cluster_of(node).installer_image
        found.setdefault((chosen, installer), []).append(node)
    return [Group(tuple(nodes), *key) for key, nodes in found.items()]


def _of_cluster(cluster: Cluster) -> Choice:
    return Choice(Images(PLAIN, cluster.talos_version))


def listed(environment: Environment) -> Iterator[str]:
    """What :func:`groups` found, as lines."""
    for group in groups(environment):
        names = ", ".join(node.name for node in group.nodes)
        yield f"{environment.name}: {names}"
        images, path = group.chosen.images, group.chosen.file
        rows = {
            "schematic": str(path)
            if path
            else "none"
            if images.schematic == PLAIN
            else "by its id",
            "id": images.schematic,
            "extensions": _extensions(group.chosen),
            "installer": group.installer,
            "ISO": images.iso,
            "disk image": images.disk_image,
            "kernel": images.kernel,
            "initramfs": images.initramfs,
        }
        yield from (f"  {name:<12}{value}" for name, value in rows.items() if value)


def _extensions(chosen: Choice) -> str:
    if chosen.file is None:
        return "none" if chosen.images.schematic == PLAIN else "not known here"
    return ", ".join(schematic_rules.extensions(chosen.file.read_text("utf-8"))) or "none"


def show(environments: Sequence[Environment], submit: bool) -> None:
    """Print which images nodes get, and register their schematics where that is asked for.

    :param submit: whether the factory is sent the schematics.
    :raises FactoryError: after all was tried, when one could not be registered.
    :raises SecretsError: for a schematic that holds a secret; the factory is sent none then.
    """
    for environment in environments:
        print("\n".join(listed(environment)))
    if not submit:
        return
    choices = [group.chosen for one in environments for group in groups(one)]
    _refuse_secrets(choices)
    errors, sent = [], _to_register(choices)
    if not sent:
        print("no schematic but the plain one, which the public Image Factory has: nothing to send")
    for chosen in sent:
        try:
            print(_register(chosen))
        except FactoryError as error:
            errors.append(error)
    if errors:
        lines = "\n".join(error.message for error in errors)
        raise FactoryError(lines, hint="\n".join(dict.fromkeys(error.hint for error in errors)))


def _to_register(choices: Iterable[Choice]) -> list[Choice]:
    """Each schematic once for each factory; the public one has the plain one."""
    found = {(chosen.images.factory, chosen.images.schematic): chosen for chosen in choices}
    return [chosen for key, chosen in found.items() if key != (PUBLIC_FACTORY, PLAIN)]


def _refuse_secrets(choices: Iterable[Choice]) -> None:
    """Who knows a schematic's id can read it, and have its images."""
    files = dict.fromkeys(chosen.file for chosen in choices if chosen.file)
    found = [
        f"{path}:{secret.line}: holds {secret.what}"
        for path in files
        for secret in plain.findings(path.read_bytes(), path.name)
    ]
    if found:
        raise SecretsError(
            "\n".join(found),
            hint="Whoever knows a schematic's id can read it at the factory, so nothing was sent. "
            "What is secret belongs into an encrypted patch.",
        )


def _register(chosen: Choice) -> str:
    """Send a schematic to its factory; returns what to say.

    :raises FactoryError: when it is not taken, or gets another id than ours.
    """
    factory, identifier = chosen.images.factory, chosen.images.schematic
    if chosen.file is None and identifier != PLAIN:
        return f"{identifier} is given by its id, without a file: not sent to {factory.host}"
    content = chosen.file.read_bytes() if chosen.file else _PLAIN_TEXT
    name = str(chosen.file or "the plain schematic")
    url = f"{factory.url}/schematics"
    try:
        answer = fetch.post(url, content, "application/yaml", _TIMEOUT)
    except OSError as error:
        raise FactoryError(f"{name}: {url}: {error}", hint=_hint(factory)) from None
    answered = _id_in(answer)
    if answered != identifier:
        what = f"answers with the id {answered}" if answered else "answers with no schematic's id"
        raise FactoryError(
            f"{name}: {url} {what}, and it is {identifier} here",
            hint="Does the factory have other fields, or add an owner (its Enterprise edition)? "
            "Then write the id that it answers with as TALOS_SCHEMATIC_ID, in place of "
            "TALOS_SCHEMATIC.\n"
            "If nothing at that address is an Image Factory: IMAGE_FACTORY in cluster.env.",
        )
    return f"{name}: registered at {factory.host} as {identifier}"


def _id_in(answer: bytes) -> str:
    """The id in an answer of the factory's; "" for none."""
    try:
        found = json.loads(answer)
    except (ValueError, UnicodeDecodeError):
        return ""
    identifier = str(found.get("id", "")) if isinstance(found, dict) else ""
    return identifier if _ID.fullmatch(identifier) else ""


def _hint(factory: Factory) -> str:
    how = (
        "IMAGE_FACTORY=http://… is for one without TLS. "
        if not factory.plain
        else "IMAGE_FACTORY without http:// is for one with TLS. "
    ) * (factory != PUBLIC_FACTORY)
    return (
        f"Is {factory.host} the Image Factory, and reachable from here? Proxies are taken from "
        "HTTPS_PROXY and NO_PROXY, a CA of your own from REQUESTS_CA_BUNDLE.\n"
        f"{how}Then run the same command again: what is registered already stays so."
    )
