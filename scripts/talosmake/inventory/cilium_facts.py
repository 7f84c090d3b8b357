"""What cluster.env says about Cilium: which way it is installed, and what is pinned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.inventory import known_facts
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.model import Cilium, CniInstall

REMOTE = ("oci://", "https://", "http://")


def read(facts: Mapping[str, str], path: Path) -> Cilium | None:
    """How Cilium is installed; None for ``CNI_INSTALL=none``, where nothing else is looked at.

    :param path: the cluster.env that the facts come from, for messages only.
    :raises InventoryError: for a value that is missing or wrong, and for what is not pinned.
    """
    given = Facts(facts, (path,))
    install = CniInstall(given.text("CNI_INSTALL"))
    if install is CniInstall.NONE:
        return None
    return Cilium(
        install=install,
        version=_version(given, path),
        cli_image=given.text("CILIUM_CLI_IMAGE"),
        chart=given.text("CILIUM_CHART"),
        chart_sha256=_chart_sha256(given, path) if install is CniInstall.HELM else "",
    )


def _version(facts: Facts, path: Path) -> str:
    value = facts.text("CILIUM_VERSION")
    if not value:
        raise InventoryError(
            f"{path}: CILIUM_VERSION is missing",
            hint=f"Add a line CILIUM_VERSION={known_facts.facts()['CILIUM_VERSION'].example}, or "
            "CNI_INSTALL=none for a cluster whose network is not Cilium.",
        )
    return value


def _chart_sha256(facts: Facts, path: Path) -> str:
    """The digest that the chart must have; a local chart must be there."""
    chart, value = facts.text("CILIUM_CHART"), facts.text("CILIUM_CHART_SHA256")
    local = not chart.startswith(REMOTE)
    if local and not Path(chart).exists():
        raise facts.wrong(
            "CILIUM_CHART",
            "there is no such file or directory",
            "A path is relative to the repository's root.",
        )
    if local and Path(chart).is_dir():
        if value:
            raise InventoryError(
                f"{facts.place('CILIUM_CHART_SHA256')}: CILIUM_CHART_SHA256 is set, but "
                f"CILIUM_CHART={chart!r} is a directory, which has no digest",
                hint="Remove the line; the directory's files are pinned by Git.",
            )
        return ""
    if not value:
        raise InventoryError(
            f"{path}: CNI_INSTALL=helm needs CILIUM_CHART_SHA256, the digest of {chart}",
            hint=f"Get it once from the chart that you trust:\n{_how_to_digest(facts, chart)}",
        )
    return value


def _how_to_digest(facts: Facts, chart: str) -> str:
    if not chart.startswith(REMOTE):
        return f"sha256sum {chart}"
    version = facts.text("CILIUM_VERSION")
    where = chart if is_chart(chart) else f"cilium --repo {chart}"
    return f"helm pull {where} --version {version} && sha256sum *-{version}.tgz"


def is_chart(chart: str) -> bool:
    """Whether a remote address is a chart's own, and not its repository's."""
    return chart.startswith("oci://") or chart.endswith(".tgz")
