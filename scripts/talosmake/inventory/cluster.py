"""cluster.env: what it says of the cluster, and of the run that is made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from talosmake.base.errors import ConfigError, InventoryError
from talosmake.inventory import envfile, lifetimes, schematic, versions
from talosmake.inventory.facts import is_true, number, one_of, refuse_built_in
from talosmake.inventory.model import Cluster, Goal, Settings

_SCHEMATIC_ID = re.compile(r"[0-9a-f]{64}")
_REQUIRED = (
    "CLUSTER_NAME",
    "CLUSTER_ENDPOINT",
    "TALOS_VERSION",
    "TALOS_CONTRACT",
    "KUBERNETES_VERSION",
)
# Not `try`: it takes a config back after a minute unless it is sent again in another mode.
_APPLY_MODES = ("auto", "no-reboot", "reboot", "staged")


def read_schematic(facts: dict[str, Any], directory: Path) -> Path | None:
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


def cluster_facts(path: Path) -> dict[str, str]:
    """The facts of cluster.env, as they are written.

    :raises InventoryError: when it is missing, or gives a fact that the workflow sets.
    """
    if not path.is_file():
        raise InventoryError(
            f"{path}: is missing",
            hint=f"It names the cluster: one KEY=value line each for {', '.join(_REQUIRED)}. "
            "Copy another environment's file and change it.",
        )
    facts = envfile.read(path)
    refuse_built_in(facts, path)
    return facts


def read_cluster(facts: Mapping[str, str], path: Path) -> Cluster:
    """The cluster that the facts describe.

    :param path: cluster.env, for errors.
    :raises InventoryError: for a fact that is missing or not of the right form.
    """
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
        simulated=is_true(facts, path, "SIMULATED"),
        lab=is_true(facts, path, "LAB"),
        installer=_installer(facts, path),
        protected=is_true(facts, path, "PROTECTED"),
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


def _installer(facts: Mapping[str, str], path: Path) -> str:
    """The Image Factory's installer, where the nodes need one of a schematic's."""
    secure_boot = is_true(facts, path, "TALOS_SECURE_BOOT")
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


def read_settings(facts: Mapping[str, str], path: Path, goal: str | None) -> Settings:
    """What the facts say of a run: its goal, how configs are applied, how long is waited.

    :param goal: the caller's goal, which overrides the environment's.
    :raises ConfigError: when it is none.
    :raises InventoryError: for a fact that is not of the right form.
    """
    goals = [str(known) for known in Goal]
    if goal is not None and goal not in goals:
        raise ConfigError(f"goal={goal!r}: must be one of {', '.join(goals)}")
    return Settings(
        goal=Goal(goal or one_of(facts, path, "GOAL", goals, Goal.VALIDATED)),
        apply_mode=one_of(facts, path, "APPLY_MODE", _APPLY_MODES, "auto"),
        call_timeout=number(facts, path, "CALL_TIMEOUT", 20),
        node_timeout=number(facts, path, "NODE_TIMEOUT", 600),
        etcd_timeout=number(facts, path, "ETCD_TIMEOUT", 300),
        apply_retries=int(number(facts, path, "APPLY_RETRIES", 3)),
        cert_hours=_cert_hours(facts, path),
    )


def _cert_hours(facts: Mapping[str, str], path: Path) -> int:
    """``CERT_TTL`` in hours; half of it must be longer than a step may wait for a node."""
    text = facts.get("CERT_TTL", "1y")
    waits = [number(facts, path, name, default) for name, default in _WAITS.items()]
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
