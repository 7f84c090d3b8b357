"""cluster.env: what it says of the cluster, and of the run that is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from talosmake.base.errors import ConfigError, InventoryError
from talosmake.inventory import envfile, known_facts, lifetimes, versions
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.facts import refuse_built_in
from talosmake.inventory.model import Cluster, Goal, Options


def cluster_facts(path: Path) -> dict[str, str]:
    """The facts of cluster.env, as they are written.

    :raises InventoryError: when it is missing, or gives a fact that the workflow sets.
    """
    if not path.is_file():
        required = ", ".join(fact.name for fact in known_facts.required())
        raise InventoryError(
            f"{path}: is missing",
            hint=f"It names the cluster: one KEY=value line each for {required}. "
            "Copy another environment's file and change it.",
        )
    facts = envfile.read(path)
    refuse_built_in(facts, path)
    return facts


def read_cluster(facts: Mapping[str, str], path: Path, installer: str) -> Cluster:
    """The cluster that the facts describe.

    :param path: cluster.env, for errors.
    :param installer: the Image Factory's, where the facts ask for one; else "".
    :raises InventoryError: for a fact that is missing or not of the right form.
    """
    _refuse_missing(facts, path)
    given = Facts(facts, (path,))
    _check_contract(given)
    cluster = Cluster(
        name=given.text("CLUSTER_NAME"),
        endpoint=given.text("CLUSTER_ENDPOINT"),
        talos_version=given.text("TALOS_VERSION"),
        talos_contract=given.text("TALOS_CONTRACT"),
        kubernetes_version=given.text("KUBERNETES_VERSION"),
        simulated=given.yes("SIMULATED"),
        lab=given.yes("LAB"),
        installer=installer,
        protected=given.yes("PROTECTED"),
        talosctl_version=given.text("TALOSCTL_VERSION"),
    )
    versions.check(
        cluster.talos_version, cluster.kubernetes_version, path, cluster.talosctl_version
    )
    return cluster


def _refuse_missing(facts: Mapping[str, str], path: Path) -> None:
    required = {fact.name: fact for fact in known_facts.required()}
    for name, fact in required.items():
        if not facts.get(name):
            near = get_close_matches(name, [key for key in facts if key not in required], n=1)
            raise InventoryError(
                f"{path}: {name} is missing" + (f"; is {near[0]} a typo of it?" if near else ""),
                hint=f"Add a line {name}={fact.example}",
            )


def _check_contract(facts: Facts) -> None:
    """A Talos need not know what configs of a later contract hold."""
    version, contract = facts.text("TALOS_VERSION"), facts.text("TALOS_CONTRACT")
    if _minor(contract) > _minor(version):
        raise InventoryError(
            f"{facts.place('TALOS_CONTRACT')}: TALOS_CONTRACT={contract} is later than "
            f"TALOS_VERSION={version}",
            hint="It is the version whose defaults configs keep: TALOS_VERSION's at most. Raise "
            "TALOS_VERSION first.",
        )


def _minor(version: str) -> list[int]:
    return [int(part) for part in version.removeprefix("v").split(".")[:2]]


# How long a step may wait before it uses a client certificate again.
_WAITS = ("NODE_TIMEOUT", "ETCD_TIMEOUT")
# For how long talosctl makes the CAs in a bundle.
_CA_HOURS = 87600


def read_options(facts: Mapping[str, str], path: Path, goal: str | None) -> Options:
    """What the facts say of a run: its goal, how configs are applied, how long is waited.

    :param goal: the caller's goal, which overrides the environment's.
    :raises ConfigError: when it is none.
    :raises InventoryError: for a fact that is not of the right form.
    """
    goals = [str(known) for known in Goal]
    if goal is not None and goal not in goals:
        raise ConfigError(f"goal={goal!r}: must be one of {', '.join(goals)}")
    given = Facts(facts, (path,))
    return Options(
        goal=Goal(goal or given.text("GOAL")),
        apply_mode=given.text("APPLY_MODE"),
        call_timeout=given.number("CALL_TIMEOUT"),
        node_timeout=given.number("NODE_TIMEOUT"),
        etcd_timeout=given.number("ETCD_TIMEOUT"),
        apply_retries=given.whole("APPLY_RETRIES"),
        cert_hours=_cert_hours(given),
    )


def _cert_hours(facts: Facts) -> int:
    """``CERT_TTL`` in hours; half of it must be longer than a step may wait for a node."""
    text = facts.text("CERT_TTL")
    waits = [facts.number(name) for name in _WAITS]
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
        raise facts.wrong(
            "CERT_TTL",
            problem,
            "How long client certificates live: a number of hours, days, weeks or years from "
            f"{shortest}h to 10y, e.g. 8760h, 90d or 1y.",
        )
    return hours
