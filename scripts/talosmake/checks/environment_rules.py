"""Lint rules about an environment as a whole (pure, but for where a fact stands)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from talosmake.base.yamls import lookup
from talosmake.checks.finding import EnvironmentView, Finding, NodeView
from talosmake.checks.network_rules import address_of, serves, static_addresses, vips
from talosmake.inventory import elsewhere, envfile, known_facts
from talosmake.inventory.model import Node
from talosmake.patches import layout
from talosmake.secrets import encrypted

_RULES = ".sops.yaml"
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def even_control_planes(view: EnvironmentView) -> Iterator[Finding]:
    """An even number of control planes, which stands no more failures than one fewer."""
    count = len(view.environment.control_planes)
    if count % 2 == 0:
        majority, lost = count // 2 + 1, (count - 1) // 2
        yield Finding(
            str(view.environment.directory / "control_planes"),
            f"there are {count} control planes: etcd needs {majority} of them, so {lost} may fail, "
            f"as many as of {count - 1}",
            "Have one, three or five.",
        )


def endpoint(view: EnvironmentView) -> Iterator[Finding]:
    """No control plane, VIP or certSAN serves the host of CLUSTER_ENDPOINT."""
    environment = view.environment
    host = urlsplit(environment.cluster.endpoint).hostname or ""
    served = {node.address for node in environment.control_planes}
    served |= {node.hostname for node in environment.control_planes}
    served |= {node.short_hostname for node in environment.control_planes}
    for node in view.control_planes:
        served |= {place.text for place in (*vips(node), *static_addresses(node))}
        served |= set(_cert_sans(node))
    names = (host,) if address_of(host) else (host, host.partition(".")[0])
    if not any(serves(text, name) for text in served for name in names):
        shared = environment.directory / "control_planes/common.yaml"
        yield Finding(
            str(environment.env_file),
            f"CLUSTER_ENDPOINT={environment.cluster.endpoint}: {host} is no control plane's "
            "address, no VIP, and no certSAN",
            f"Correct it, or add the VIP (Layer2VIPConfig) to {shared}. Where a load balancer or "
            "DNS leads to the control planes, name it there in "
            f"{layout.API_CERT_SANS.label(environment.cluster.contract)}: {host}",
        )


def vip_address(view: EnvironmentView) -> Iterator[Finding]:
    """A virtual address is also the address of a node."""
    for control_plane in view.control_planes:
        for place in vips(control_plane):
            this = address_of(place.text)
            for node in view.environment.nodes:
                if this is not None and this == address_of(node.address):
                    yield Finding(
                        place.where,
                        f"{place.label}: {place.shown} is the address of {node.name}; the VIP "
                        "moves between control planes and must be no machine's own",
                        f"Take an address that nothing else has, or correct {node.env_file}.",
                        nodes=(control_plane.node.name,),
                    )


def _cert_sans(view: NodeView) -> Iterator[str]:
    for entry in view.entries:
        for _, value in layout.found(entry.content, layout.CERT_SANS, layout.API_CERT_SANS):
            yield from map(str, value if isinstance(value, list) else ())


def machine_twice(view: EnvironmentView) -> Iterator[Finding]:
    """A node's address, MAC address or UUID, or the cluster's endpoint, is another one's, too."""
    for clash in view.clashes:
        do = elsewhere.hint(view.environment).splitlines()[0]
        yield Finding(str(clash.file), f"{clash.message}; nothing is applied to it", do)


def fact_name(view: EnvironmentView) -> Iterator[Finding]:
    """A fact that nothing uses, by a name that is nearly that of one that talosmake knows."""
    environment = view.environment
    given: dict[str, list[Path]] = {name: [environment.env_file] for name in environment.facts}
    for node in environment.nodes:
        for name in node.facts.keys() - environment.facts.keys():
            given.setdefault(name, []).append(_given_in(node, name))
    meant = {name: _nearest(name) for name in given}
    used = view.read_used() if any(meant.values()) else frozenset()
    for name, paths in given.items():
        for path in dict.fromkeys(paths) if meant[name] and name not in used else ():
            yield Finding(
                str(path),
                f"{name} is not used, and has no effect; did you mean {meant[name]}?",
                "Correct the name, or remove the line (it may stand in config/config.yaml).",
            )


def _given_in(node: Node, name: str) -> Path:
    """The env file that gives a node's fact: its own, or its role's."""
    return next((path for path in node.env_files if name in envfile.read(path)), node.env_file)


def _nearest(name: str) -> str:
    """The known fact that an unknown name is nearly the same as; "" for none."""
    known = known_facts.names()
    return "" if name in known else next(iter(get_close_matches(name, known, 1, 0.85)), "")


def shared_bundle(view: EnvironmentView) -> Iterator[Finding]:
    """Two environments have the same secrets, by one file or by a copy."""
    environment = view.environment
    do = (
        "Before an environment is deployed, give it its own:  snakemake separate_secrets "
        f"--config env={environment.name}"
    )
    others = environment.shares_bundle_with
    if others:
        yield Finding(
            str(environment.bundle),
            f"also serves {', '.join(others)}: one PKI for all of them, so who may enter one may "
            "enter all",
            do,
        )
    own = key_values(view.encrypted.get(environment.bundle, ""))
    for path, text in view.other_bundles.items():
        if own & key_values(text):
            yield Finding(
                str(environment.bundle),
                f"holds the same secrets as {path}, of which it is a copy: one PKI for both, so "
                "who may enter one may enter both",
                f"Before it is deployed, remove {environment.bundle}, and make a new one:  "
                f"snakemake separate_secrets --config env={environment.name}",
            )


def key_values(text: str) -> set[str]:
    """A bundle's encrypted values. sops makes a new vector for each, so none is there twice."""
    document = _parsed(text)
    certs = lookup(document, "certs")
    keys = [lookup(item, "key") for item in certs.values()] if isinstance(certs, dict) else []
    return {str(key) for key in keys if str(key).startswith("ENC[")}


def recipients(view: EnvironmentView) -> Iterator[Finding]:
    """A file is not encrypted for exactly the age recipients that .sops.yaml names for it."""
    for path, text in view.encrypted.items():
        wanted = recipients_by_rule(view.sops_rules, path)
        held = {str(lookup(item, "recipient")) for item in _age_of(text)}
        if wanted is None or not held:
            continue
        missing, more = sorted(wanted - held), sorted(held - wanted)
        said = [f"{_RULES} names {', '.join(missing)} for it, but it is not encrypted for them"]
        said *= bool(missing)
        if more:
            said.append(f"it is encrypted for {', '.join(more)}, whom {_RULES} does not name")
        if said:
            # updatekeys keeps the data key, which who is too much knows.
            again = f"snakemake rekey --config env={view.environment.name}"
            do = again if more else f"sops updatekeys {path}"
            yield Finding(str(path), "; ".join(said), f"Run:  {do}")


def _age_of(text: str) -> list[Any]:
    values = [one.get("age") for one in encrypted.metadata(text)]
    return [item for value in values if isinstance(value, list) for item in value]


def recipients_by_rule(rules: str, path: Path) -> set[str] | None:
    """The age recipients of the first rule for a file (sops docs: Using .sops.yaml conf).

    :param rules: the text of .sops.yaml.
    :param path: of the file, as seen from .sops.yaml.
    :returns: None where no rule is for the file, or the rule names no age recipients.
    """
    entries = lookup(_parsed(rules), "creation_rules")
    for rule in entries if isinstance(entries, list) else ():
        pattern = lookup(rule, "path_regex")
        if pattern and not _matches(str(pattern), str(path)):
            continue
        groups = lookup(rule, "key_groups")
        found = [lookup(rule, "age")]
        found += [lookup(group, "age") for group in (groups if isinstance(groups, list) else ())]
        return {name for value in found for name in _names(value)} or None
    return None


def _matches(pattern: str, path: str) -> bool:
    try:
        return re.search(pattern, path) is not None
    except re.error:  # sops's regular expressions are Go's
        return False


def _names(value: object) -> Iterator[str]:
    for text in value if isinstance(value, list) else [value or ""]:
        yield from (name for part in str(text).split(",") if (name := part.strip()))


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a loader that makes text only
    except yaml.YAMLError:
        return None
