"""Discovering environments and nodes from their directories, and checking what they say.

Reads files and nothing else; it runs again in every process that Snakemake starts.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from talosmake.base.errors import ConfigError, InventoryError
from talosmake.base.merge import merged
from talosmake.base.yamls import lookup
from talosmake.inventory import (
    canonical,
    cilium_facts,
    endpoints,
    envfile,
    known_facts,
    lifetimes,
    machine_facts,
    node_address,
    places,
    schematic,
    unread,
    versions,
)
from talosmake.inventory.machines import Vms
from talosmake.inventory.model import Cluster, Environment, Goal, Node, Role, Settings, natural
from talosmake.patches import placeholders
from talosmake.patches.inject import inject_known
from talosmake.patches.patch import Patch, parse

ENVIRONMENTS = Path("patches/envs")
ALL = "all"

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCHEMATIC_ID = re.compile(r"[0-9a-f]{64}")
_REQUIRED = (
    "CLUSTER_NAME",
    "CLUSTER_ENDPOINT",
    "TALOS_VERSION",
    "TALOS_CONTRACT",
    "KUBERNETES_VERSION",
)
# Facts that, empty, are taken from the node's address.
_FROM_ADDRESS = ("NODE_IP", "NODE_ENDPOINT", "NODE_ENDPOINT_HOST")
# Not `try`: it takes a config back after a minute unless it is sent again in another mode.
_APPLY_MODES = ("auto", "no-reboot", "reboot", "staged")
# A node answers in no time at all never; the others may be 0: not waited for, or not tried again.
_MORE_THAN_0 = ("CALL_TIMEOUT", "NODE_TIMEOUT")


def environment_names() -> list[str]:
    """The names of all environments: the directories below patches/envs."""
    if not ENVIRONMENTS.is_dir():
        return []
    return sorted(
        entry.name for entry in ENVIRONMENTS.iterdir() if entry.is_dir() and entry.name[0] != "."
    )


def selected(env: str | None) -> list[str]:
    """The environments that ``--config env=`` names; ``all`` names each.

    :raises ConfigError: when it names none, or one that is not there.
    """
    names = environment_names()
    known = ", ".join(names) or f"none; make a directory below {ENVIRONMENTS}"
    if not env:
        raise ConfigError(
            f"no environment given; there are: {known}",
            hint="Name one:  snakemake --config env=NAME -j4\n"
            "or set 'env:' in config/config.yaml for good.",
        )
    if env == ALL:
        return names
    if env not in names:
        near = get_close_matches(env, names, n=1)
        raise ConfigError(
            f"there is no environment {env!r}" + (f"; did you mean {near[0]}?" if near else ""),
            hint=f"There are: {known}",
        )
    return [env]


def load(
    name: str, defaults: Mapping[str, str] | None = None, goal: str | None = None
) -> Environment:
    """Read one environment and check it.

    :param defaults: facts that cluster.env and node.env override.
    :param goal: the caller's goal, which overrides the environment's.
    :raises InventoryError: for the first mistake in its files.
    """
    directory = ENVIRONMENTS / name
    _check_name(name, directory)
    if name == ALL:
        raise InventoryError(f"{directory}: 'all' means every environment; give it another name")
    own = _cluster_facts(directory / "cluster.env")
    facts = canonical.facts(merged(defaults or {}, own, {"ENV": name}))
    env_file = directory / "cluster.env"
    _refuse_references(own, facts, env_file)
    _refuse_node_only(facts, env_file)
    schematic_file = _schematic_file(facts, directory)
    cluster = _cluster(facts, env_file)
    unread.check(directory, [*unread.named_by(facts, directory)])
    nodes = tuple(_nodes(directory, facts, cluster))
    bundle, shared_with = _bundle(name, cluster)
    environment = Environment(
        name,
        directory,
        cluster,
        _settings(facts, env_file, goal),
        nodes,
        bundle,
        shared_with,
        cilium=cilium_facts.read(facts, env_file),
        facts=facts,
        schematic=schematic_file,
    )
    _check(environment)
    return replace(environment, vms=_vms(environment, facts))


def _vms(environment: Environment, facts: Mapping[str, str]) -> Vms | None:
    """The virtual machines that the nodes are; without ``LIBVIRT_URI`` they are bare metal."""
    if not facts.get(machine_facts.URI):
        return None
    cluster = environment.cluster
    if cluster.simulated:
        raise InventoryError(
            f"{environment.env_file}: SIMULATED=true does not go with {machine_facts.URI}",
            hint="Nodes are simulated or virtual machines; remove one of the two lines.",
        )
    return machine_facts.read(
        environment.name,
        cluster.name,
        cluster.endpoint,
        facts,
        environment.env_file,
        environment.nodes,
    )


def _schematic_file(facts: dict[str, Any], directory: Path) -> Path | None:
    """The schematic's file; its id becomes the fact ``TALOS_SCHEMATIC_ID``."""
    name = str(facts.get("TALOS_SCHEMATIC", ""))
    if not name:
        return None
    if "TALOS_SCHEMATIC_ID" in facts:
        raise InventoryError(
            f"{directory / 'cluster.env'}: TALOS_SCHEMATIC and TALOS_SCHEMATIC_ID say the same",
            hint="Keep one: the file, or the id that the Image Factory gave you.",
        )
    path = directory / name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(
            f"{directory / 'cluster.env'}: TALOS_SCHEMATIC={name!r}: {path} cannot be read: "
            f"{getattr(error, 'strerror', error)}",
            hint=f"It names a YAML file in {directory}, e.g. TALOS_SCHEMATIC=schematic.yaml",
        ) from None
    facts["TALOS_SCHEMATIC_ID"] = schematic.schematic_id(text, path)
    return path


def _check_name(name: str, path: Path) -> None:
    if not _NAME.fullmatch(name):
        raise InventoryError(
            f"{path}: {name!r} is no name for an environment or a node",
            hint="Use small letters, digits, - and _ in between, 63 characters at most; "
            "the host name is made of it (with - for _).",
        )
    if _is_number(name):
        raise InventoryError(
            f"{path}: {name!r} is no name for an environment or a node: Snakemake reads a number",
            hint="env= and node= could not name it; put letters before it, e.g. node_1.",
        )


def _is_number(text: str) -> bool:
    """Whether Snakemake takes a value of --config for a number: 01, 1_0, 1e3, but also nan."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cluster_facts(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise InventoryError(
            f"{path}: is missing",
            hint=f"It names the cluster: one KEY=value line each for {', '.join(_REQUIRED)}. "
            "Copy another environment's file and change it.",
        )
    facts = envfile.read(path)
    _refuse_built_in(facts, path)
    return facts


def _refuse_references(own: Mapping[str, str], others: Mapping[str, Any], path: Path) -> None:
    """Refuse values that name other facts: nothing in a value is replaced."""
    for name, value in own.items():
        if "$" in value or "{{" in value:
            known = known_facts.names() | own.keys() | others.keys()
            placeholders.check_value(name, value, f"{path}:{envfile.line_of(path, name)}", known)


def _refuse_built_in(facts: Mapping[str, str], path: Path) -> None:
    for name in known_facts.BUILT_IN:
        if name in facts:
            raise InventoryError(
                f"{path}: {name} is set by the workflow and cannot be given",
                hint="It comes from NODE_ENDPOINT, else NODE_IP; remove the line."
                if name == "NODE_ENDPOINT_HOST"
                else "It comes from the directory's name; remove the line.",
            )


def _refuse_node_only(facts: Mapping[str, str], path: Path) -> None:
    # What tells nodes apart; how large their machines are may be the same for all.
    for name in known_facts.of_a_node():
        if name in facts and not name.startswith("VM_"):
            raise InventoryError(
                f"{path}: {name} is about one node and cannot be given for all of them",
                hint="Write it into the node.env of the node that it is about, and not into "
                "cluster.env or config.yaml.",
            )


def _refuse_environment_only(facts: Mapping[str, str], path: Path) -> None:
    for name in facts:
        if name in known_facts.of_an_environment():
            raise InventoryError(
                f"{path}: {name} is about the whole environment and cannot be given for one node",
                hint="Write it into the environment's cluster.env, for all nodes; or, if it is for "
                f"this node's patches only, give it a name of your own, e.g. MY_{name}.",
            )


def _cluster(facts: Mapping[str, str], path: Path) -> Cluster:
    for name in _REQUIRED:
        if not facts.get(name):
            near = get_close_matches(name, [key for key in facts if key not in _REQUIRED], n=1)
            raise InventoryError(
                f"{path}: {name} is missing" + (f"; is {near[0]} a typo of it?" if near else ""),
                hint=f"Add a line {name}={_EXAMPLES[name]}",
            )
    _check_contract(facts, path)
    cluster = Cluster(
        name=_matching(facts, path, "CLUSTER_NAME", r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?"),
        endpoint=_endpoint(facts["CLUSTER_ENDPOINT"], path),
        talos_version=facts["TALOS_VERSION"],
        talos_contract=facts["TALOS_CONTRACT"],
        kubernetes_version=_matching(facts, path, "KUBERNETES_VERSION", r"\d+\.\d+\.\d+[-.\w]*"),
        simulated=_true(facts, path, "SIMULATED"),
        lab=_true(facts, path, "LAB"),
        installer=_installer(facts, path),
        protected=_true(facts, path, "PROTECTED"),
    )
    versions.check(cluster.talos_version, cluster.talos_contract, cluster.kubernetes_version, path)
    return cluster


def _check_contract(facts: Mapping[str, str], path: Path) -> None:
    """A Talos need not know what configs of a later contract hold."""
    version = _matching(facts, path, "TALOS_VERSION", r"v\d+\.\d+\.\d+[-.\w]*")
    contract = _matching(facts, path, "TALOS_CONTRACT", r"v\d+\.\d+")
    if _minor(contract) > _minor(version):
        raise InventoryError(
            f"{path}: TALOS_CONTRACT={contract} is later than TALOS_VERSION={version}",
            hint="It is the version whose defaults configs keep: TALOS_VERSION's at most. Raise "
            "TALOS_VERSION first.",
        )


def _minor(version: str) -> list[int]:
    return [int(part) for part in version.removeprefix("v").split(".")[:2]]


def _true(facts: Mapping[str, str], path: Path, name: str) -> bool:
    return _one_of(facts, path, name, ("true", "false"), "false") == "true"


def _installer(facts: Mapping[str, str], path: Path) -> str:
    """The Image Factory's installer, where the nodes need one of a schematic's."""
    secure_boot = _true(facts, path, "TALOS_SECURE_BOOT")
    identifier = facts.get("TALOS_SCHEMATIC_ID") or (schematic.PLAIN if secure_boot else "")
    if not identifier:
        return ""
    if not _SCHEMATIC_ID.fullmatch(identifier):
        raise InventoryError(
            f"{path}: TALOS_SCHEMATIC_ID={identifier!r} is no schematic's id",
            hint="Write the 64 hex digits that the Image Factory gave you; the name of a file "
            "with a schematic goes into TALOS_SCHEMATIC.",
        )
    return schematic.installer_image(identifier, facts["TALOS_VERSION"], secure_boot=secure_boot)


_EXAMPLES = {
    "CLUSTER_NAME": "talos-dev",
    "CLUSTER_ENDPOINT": "https://10.0.1.10:6443",
    "TALOS_VERSION": "v1.13.0",
    "TALOS_CONTRACT": "v1.13",
    "KUBERNETES_VERSION": "1.36.0",
}


def _matching(facts: Mapping[str, str], path: Path, name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, facts[name]):
        raise InventoryError(
            f"{path}: {name}={facts[name]!r} is not of the right form",
            hint=f"Write it as in {name}={_EXAMPLES[name]}",
        )
    return facts[name]


def _one_of(
    facts: Mapping[str, str], path: Path, name: str, allowed: Iterable[str], default: str
) -> str:
    value = facts.get(name, default)
    if value not in (known := list(allowed)):
        raise InventoryError(f"{path}: {name}={value!r}: must be one of {', '.join(known)}")
    return value


def _endpoint(url: str, path: Path) -> str:
    """An https URL with host and port and nothing else."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and bool(parts.hostname) and bool(parts.port)
        valid = valid and parts.username is None
        valid = valid and not (parts.path or parts.query or parts.fragment)
    except ValueError:
        valid = False
    if not valid:
        raise InventoryError(
            f"{path}: CLUSTER_ENDPOINT={url!r} is no https URL with a host and a port",
            hint="It is where the Kubernetes API is reached: a VIP, a load balancer or the first "
            f"control plane, e.g. {_EXAMPLES['CLUSTER_ENDPOINT']}",
        )
    return url


# How long a step may wait before it uses a client certificate again, by the fact's default.
_WAITS = {"NODE_TIMEOUT": 600.0, "ETCD_TIMEOUT": 300.0}
# For how long talosctl makes the CAs in a bundle.
_CA_HOURS = 87600


def _settings(facts: Mapping[str, str], path: Path, goal: str | None) -> Settings:
    goals = [str(known) for known in Goal]
    if goal is not None and goal not in goals:
        raise ConfigError(f"goal={goal!r}: must be one of {', '.join(goals)}")
    return Settings(
        goal=Goal(goal or _one_of(facts, path, "GOAL", goals, Goal.VALIDATED)),
        apply_mode=_one_of(facts, path, "APPLY_MODE", _APPLY_MODES, "auto"),
        call_timeout=_number(facts, path, "CALL_TIMEOUT", 20),
        node_timeout=_number(facts, path, "NODE_TIMEOUT", 600),
        etcd_timeout=_number(facts, path, "ETCD_TIMEOUT", 300),
        apply_retries=int(_number(facts, path, "APPLY_RETRIES", 3)),
        cert_hours=_cert_hours(facts, path),
    )


def _cert_hours(facts: Mapping[str, str], path: Path) -> int:
    """``CERT_TTL`` in hours; half of it must be longer than a step may wait for a node."""
    text = facts.get("CERT_TTL", "1y")
    waits = [_number(facts, path, name, default) for name, default in _WAITS.items()]
    shortest = max(1, math.ceil(2 * sum(waits) / 3600))
    try:
        hours = lifetimes.hours(text)
        problem = ""
    except ValueError as error:
        hours, problem = 0, str(error)
    if not problem and hours < shortest:
        problem = f"is too short: half of it must be longer than {' and '.join(_WAITS)} together"
    if not problem and hours > _CA_HOURS:
        problem = "is longer than the CA lives that signs it"
    if problem:
        raise InventoryError(
            f"{envfile.place(path, 'CERT_TTL')}: CERT_TTL={text!r} {problem}",
            hint="How long client certificates live: a number of hours, days, weeks or years from "
            f"{shortest}h to 10y, e.g. 8760h, 90d or 1y.",
        )
    return hours


def _number(facts: Mapping[str, str], path: Path, name: str, default: float) -> float:
    whole, more = name.endswith("RETRIES"), name in _MORE_THAN_0
    try:
        value = float(facts.get(name, default))
    except ValueError:
        value = -1
    if not 0 <= value <= 86400 or (whole and not value.is_integer()) or (more and not value):
        raise InventoryError(
            f"{path}: {name}={facts[name]!r}: must be a "
            f"{'whole number of tries' if whole else 'number of seconds'} "
            f"{'above 0, and 86400 at most' if more else 'from 0 to 86400'}"
        )
    return value


def _bundle(name: str, cluster: Cluster) -> tuple[Path, tuple[str, ...]]:
    """The bundle that serves an environment, and which others it serves."""
    own = places.own_bundle(name)
    if cluster.throwaway or own.exists() or not places.SHARED_BUNDLE.exists():
        return own, ()
    others = (other for other in environment_names() if other != name)
    return places.SHARED_BUNDLE, tuple(o for o in others if not _has_own_bundle(o))


def _has_own_bundle(name: str) -> bool:
    facts = envfile.read(ENVIRONMENTS / name / "cluster.env")
    throwaway = "true" in (facts.get("SIMULATED"), facts.get("LAB"))
    return throwaway or places.own_bundle(name).exists()


def _nodes(directory: Path, facts: Mapping[str, str], cluster: Cluster) -> Iterable[Node]:
    environment_layers = [
        *unread.common(ENVIRONMENTS.parent),
        *unread.common(directory),
    ]
    for role in Role:
        role_directory = directory / role.directory
        if not role_directory.is_dir():
            continue
        layers = [*environment_layers, *unread.common(role_directory)]
        for entry in sorted(role_directory.iterdir(), key=lambda entry: natural(entry.name)):
            if entry.is_dir() and entry.name[0] != ".":
                yield _node(entry, role, layers, facts)


def _node(
    directory: Path, role: Role, layers: list[Path], cluster_facts: Mapping[str, str]
) -> Node:
    name = directory.name
    _check_name(name, directory)
    env_file = directory / "node.env"
    own = canonical.facts(envfile.read(env_file))
    _refuse_built_in(own, env_file)
    _refuse_references(own, cluster_facts, env_file)
    _refuse_environment_only(own, env_file)
    patches = (*layers, *unread.patch_files(directory))
    built_in = {"NODE_NAME": name, "NODE_ROLE": str(role)}
    hostname = own.get("NODE_HOSTNAME", name.replace("_", "-"))
    if not endpoints.is_host_name(hostname):
        raise InventoryError(
            f"{env_file if 'NODE_HOSTNAME' in own else directory}: {hostname!r} is no host name",
            hint="Use small letters, digits and - in between, 63 characters at most, and with a "
            "domain 63 between dots and 253 in all; NODE_HOSTNAME in node.env sets another one "
            "than the directory's name.",
        )
    address = _address(own, env_file)
    if not address:
        known = {**cluster_facts, **own, **built_in, "NODE_HOSTNAME": hostname}
        address = _static_address(patches, directory, known)
    for optional in ("NODE_MAINTENANCE_IP", "NODE_ENDPOINT"):
        _check_node_endpoint(own, env_file, optional)
    endpoint = own.get("NODE_ENDPOINT") or address
    derived = {
        "NODE_HOSTNAME": hostname,
        "NODE_IP": address,
        "NODE_ENDPOINT": endpoint,
        "NODE_ENDPOINT_HOST": endpoints.host_of(endpoint),
    }
    if cluster_facts.get(machine_facts.URI) and not own.get("NODE_MAC"):
        mac = machine_facts.derived_mac(cluster_facts["ENV"], f"{role}-{name}")
        derived["NODE_MAC"] = mac
    facts = {**cluster_facts, **own, **built_in, **derived}
    _check_identity(own, env_file)
    _one_of(own, env_file, "MAC_CHECK", ("on", "off"), "on")
    return Node(name, role, hostname, address, directory, patches, facts)


def _address(facts: Mapping[str, str], path: Path) -> str:
    text = facts.get("NODE_IP", "")
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InventoryError(
            f"{path}: NODE_IP={text!r} is no IP address",
            hint="Give the address alone, without a prefix length, e.g. 10.0.1.11"
            "\nA name, or a port, goes into NODE_ENDPOINT.",
        ) from None
    if address.is_unspecified or address.is_multicast:
        raise InventoryError(
            f"{path}: NODE_IP={text} is no address of a machine",
            hint="Give the address at which the node's Talos API answers, e.g. 10.0.1.11",
        )
    return text


def _check_node_endpoint(facts: Mapping[str, str], path: Path, name: str) -> None:
    text = facts.get(name, "")
    if text and endpoints.parsed(text) is None:
        raise InventoryError(
            f"{path}: {name}={text!r} is no address or name, with or without a port",
            hint="Write it as in 10.0.1.11, node.example.com, node.example.com:50001 or "
            "[fd00::11]:50001; without a port it is Talos's own, 50000.",
        )


def _static_address(patches: Iterable[Path], directory: Path, facts: Mapping[str, str]) -> str:
    """The static address that the node's own patches give.

    :param facts: those that are known without it.
    """
    known = {name: value for name, value in facts.items() if name not in _FROM_ADDRESS or value}
    readable = [path for path in patches if _is_plain(path)]
    own = [_known(path, _text(path), known) for path in readable if path.parent == directory]
    texts = ((path, _text(path)) for path in readable if path.parent != directory)
    shared = [_known(path, text, known) for path, text in texts if node_address.tells(text)]
    found = node_address.found(own, shared)
    addresses, file = found.addresses, directory / "node.env"
    if not addresses:
        hint = f"Write it into {file}:  NODE_IP=10.0.1.11\n"
        if found.others:
            hint += f"These in its patches do not count: {', '.join(found.others)}."
        else:
            hint += "(or give the node a static address in one of its patches)"
        raise InventoryError(f"{directory}: the node has no address", hint=hint)
    if len(addresses) > 1:
        raise InventoryError(
            f"{directory}: its patches give the node several addresses: {', '.join(addresses)}",
            hint="Write the one at which its Talos API answers into "
            f"{file}, e.g.  NODE_IP={addresses[0]}",
        )
    return addresses[0]


def _known(path: Path, text: str, facts: Mapping[str, str]) -> Patch:
    return parse(inject_known(text, facts), path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InventoryError(f"{path}: cannot be read: {error.strerror}") from None


def _check_identity(facts: Mapping[str, str], path: Path) -> None:
    """What tells the machine apart: ``NODE_MAC``, ``NODE_UUID``, ``NODE_CERT_FINGERPRINT``."""
    mac = facts.get("NODE_MAC", "")
    if mac and not _MAC.fullmatch(mac):
        raise InventoryError(
            f"{path}: NODE_MAC={mac!r} is no MAC address",
            hint="Write six pairs with colons, e.g. 52:54:00:12:34:56",
        )
    if mac and int(mac[:2], 16) & 1:
        raise InventoryError(
            f"{path}: NODE_MAC={mac} is a multicast address, which no machine has",
            hint="The second digit must be even, e.g. 52:54:00:12:34:56",
        )
    uuid = facts.get("NODE_UUID", "")
    if uuid and not _UUID.fullmatch(uuid):
        raise InventoryError(
            f"{path}: NODE_UUID={uuid!r} is no UUID",
            hint="Write it as 'talosctl get systeminformation --insecure' shows it, e.g. "
            "4c4c4544-0042-3510-8052-b4c04f4d3332",
        )
    fingerprint = facts.get("NODE_CERT_FINGERPRINT", "")
    if fingerprint and not canonical.is_fingerprint(fingerprint):
        raise InventoryError(
            f"{path}: NODE_CERT_FINGERPRINT={fingerprint!r} is no fingerprint",
            hint="Write it as the console of the node in maintenance mode shows it: 44 characters "
            "that end in =.",
        )


def _check(environment: Environment) -> None:
    """What must hold for the nodes of an environment together."""
    if not environment.control_planes:
        raise InventoryError(
            f"{environment.directory}: has no control plane",
            hint=f"Make a directory for one: "
            f"{environment.directory / Role.CONTROLPLANE.directory / 'cp_1'}, with a node.env.",
        )
    _check_names(environment)
    _check_unique(environment, "address", lambda node: node.address)
    _check_unique(environment, "NODE_MAC", lambda node: node.mac)
    _check_unique(environment, "NODE_UUID", lambda node: node.uuid)
    _check_host_names(environment)
    if environment.cluster.throwaway:
        _check_loopback(environment)
    if environment.cluster.lab:
        _check_lab(environment)


def _check_names(environment: Environment) -> None:
    """A name means one machine, or all of one environment, where it is to be wiped."""
    whole = {*environment_names(), environment.name, ALL}
    called: dict[str, Node] = {}
    for node in environment.nodes:
        for name in (node.name, node.config_name):
            if name in called:
                raise InventoryError(
                    f"{called[name].directory} and {node.directory} have the same name: node= and "
                    "confirm= could not tell which machine is meant",
                    hint="Rename one of the two directories; NODE_HOSTNAME in its node.env keeps "
                    f"its host name: NODE_HOSTNAME={node.hostname}",
                )
            called[name] = node
        if node.name in whole:
            meant = "all" if node.name == ALL else f"all of the environment {node.name}"
            raise InventoryError(
                f"{node.directory}: confirm={node.name} could mean this node, and {meant}",
                hint="Rename the node's directory; NODE_HOSTNAME in its node.env keeps its host "
                f"name: NODE_HOSTNAME={node.hostname}",
            )


def _check_unique(environment: Environment, what: str, value: Callable[[Node], str]) -> None:
    seen: dict[str, Node] = {}
    for node in environment.nodes:
        this = value(node)
        if this and this in seen:
            raise InventoryError(
                f"{node.directory} and {seen[this].directory} have the same {what}: {this}",
                hint=f"Give each its own, in {node.env_file} or {seen[this].env_file}.",
            )
        seen[this] = node


def _check_host_names(environment: Environment) -> None:
    """One host name is one machine's: without its domain, unless its kubelet says more."""
    _check_unique(environment, "host name", lambda node: node.hostname)
    seen: dict[str, Node] = {}
    for node in environment.nodes:
        other = seen.setdefault(node.short_hostname, node)
        if other is node or _may_share_short_name(environment, node, other):
            continue
        raise InventoryError(
            f"{node.directory} and {other.directory} have host names that begin with the same "
            f"name: {node.hostname} and {other.hostname}. Both would be {node.short_hostname} to "
            "etcd and to Kubernetes",
            hint="Give each its own before the first dot, by NODE_HOSTNAME in "
            f"{node.env_file} or {other.env_file}.\nOn bare metal, workers may share it where "
            "machine.kubelet.registerWithFQDN is true in their patches.",
        )


def _may_share_short_name(environment: Environment, node: Node, other: Node) -> bool:
    """Whether both register with their whole names; etcd, and a network's DNS, know short ones."""
    if Role.WORKER not in (node.role, other.role) or environment.facts.get(machine_facts.URI):
        return False
    return _registers_with_fqdn(node) and _registers_with_fqdn(other)


def _registers_with_fqdn(node: Node) -> bool:
    patches = (_known(path, _text(path), node.facts) for path in node.patches if _is_plain(path))
    said = [
        lookup(document, "machine", "kubelet", "registerWithFQDN")
        for patch in patches
        for document in patch.documents
    ]
    return next((value for value in reversed(said) if value is not None), "false") == "true"


def _is_plain(path: Path) -> bool:
    return ".sops." not in path.name


def _check_loopback(environment: Environment) -> None:
    """Secrets that are made on the fly must not get to machines other than this one."""
    kind = "LAB" if environment.cluster.lab else "SIMULATED"
    for node in environment.nodes:
        for endpoint in (node.endpoint, node.maintenance_address):
            if not _is_loopback(endpoint):
                raise InventoryError(
                    f"{node.env_file}: {endpoint} is no loopback address, but "
                    f"{environment.env_file} says {kind}=true",
                    hint="Such nodes are reached at 127.x.y.z, and at no other port than Talos's "
                    f"own; for other machines remove {kind}.",
                )


def _is_loopback(endpoint: str) -> bool:
    """Whether it is a loopback address alone, without a port."""
    try:
        return ipaddress.ip_address(endpoint).is_loopback
    except ValueError:
        return False


def _check_lab(environment: Environment) -> None:
    """QEMU is told each node's MAC and its address in the lab's own network."""
    text = environment.facts.get("NETWORK", "")
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise InventoryError(
            f"{environment.env_file}: NETWORK={text!r} is no IPv4 network",
            hint="A lab needs one for its nodes, which nothing else sees, e.g. NETWORK=10.5.0.0/24",
        ) from None
    for node in environment.nodes:
        if ipaddress.ip_address(node.address) not in network:
            raise InventoryError(
                f"{node.env_file}: NODE_IP {node.address} is not in NETWORK {network} of "
                f"{environment.env_file}",
                hint="NODE_IP is the node's address in the lab's own network, NODE_ENDPOINT the "
                "loopback address by which this machine reaches it.",
            )
        if ":" in node.endpoint:
            raise InventoryError(
                f"{node.env_file}: NODE_ENDPOINT={node.endpoint}: a lab's nodes are reached at "
                "IPv4 addresses",
                hint="Take one that nothing else has, e.g. NODE_ENDPOINT=127.0.20.11",
            )
        if not node.mac:
            raise InventoryError(
                f"{node.env_file}: a node of a lab needs NODE_MAC",
                hint="Any that no other node has, e.g. NODE_MAC=52:54:00:05:00:11.",
            )
