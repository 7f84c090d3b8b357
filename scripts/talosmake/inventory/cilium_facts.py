"""What cluster.env says about Cilium: which way it is installed, and what is pinned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.inventory.model import Cilium, CniInstall

REMOTE = ("oci://", "https://", "http://")
# The places and the image that Cilium's own documentation names.
_CHART = "oci://quay.io/cilium/charts/cilium"
_CLI_IMAGE = "quay.io/cilium/cilium-cli:v0.19.7"
_EXAMPLE = "1.20.2"

_VERSION = re.compile(r"\d+\.\d+\.\d+[-+.\w]*")
_IMAGE = re.compile(
    r"[\w.-]+(:\d+(?=/))?(/[\w.-]+)*(?P<tag>:[\w][\w.-]*)?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read(facts: Mapping[str, str], path: Path) -> Cilium | None:
    """How Cilium is installed; None for ``CNI_INSTALL=none``, where nothing else is looked at.

    :param path: the cluster.env that the facts come from, for messages only.
    :raises InventoryError: for a value that is missing or wrong, and for what is not pinned.
    """
    install = _install(facts, path)
    if install is CniInstall.NONE:
        return None
    chart = facts.get("CILIUM_CHART") or _CHART
    return Cilium(
        install=install,
        version=_version(facts, path),
        cli_image=_cli_image(facts, path),
        chart=chart,
        chart_sha256=_chart_sha256(facts, chart, path) if install is CniInstall.HELM else "",
    )


def _install(facts: Mapping[str, str], path: Path) -> CniInstall:
    value = facts.get("CNI_INSTALL", CniInstall.JOB)
    if value not in list(CniInstall):
        raise InventoryError(
            f"{path}: CNI_INSTALL={value!r}: must be one of {', '.join(CniInstall)}",
            hint="job: a Job in the cluster installs Cilium. helm: its rendered chart is in the "
            "machine configs.\nnone: flannel, or what your own patches say.",
        )
    return CniInstall(value)


def _version(facts: Mapping[str, str], path: Path) -> str:
    value = facts.get("CILIUM_VERSION", "")
    if not value:
        raise InventoryError(
            f"{path}: CILIUM_VERSION is missing",
            hint=f"Add a line CILIUM_VERSION={_EXAMPLE}, or CNI_INSTALL=none for a cluster whose "
            "network is not Cilium.",
        )
    if not _VERSION.fullmatch(value):
        raise InventoryError(
            f"{path}: CILIUM_VERSION={value!r} is not of the right form",
            hint=f"Write it as in CILIUM_VERSION={_EXAMPLE}",
        )
    return value


def _cli_image(facts: Mapping[str, str], path: Path) -> str:
    image = facts.get("CILIUM_CLI_IMAGE") or _CLI_IMAGE
    found = _IMAGE.fullmatch(image)
    if not found or not (found["digest"] or found["tag"]) or found["tag"] == ":latest":
        raise InventoryError(
            f"{path}: CILIUM_CLI_IMAGE={image!r} is not pinned to a version",
            hint=f"Write it as in CILIUM_CLI_IMAGE={_CLI_IMAGE}, or with its digest: …@sha256:…",
        )
    return image


def _chart_sha256(facts: Mapping[str, str], chart: str, path: Path) -> str:
    """The digest that the chart must have; a local chart must be there."""
    value = facts.get("CILIUM_CHART_SHA256", "")
    local = not chart.startswith(REMOTE)
    if local and "://" in chart:
        raise InventoryError(
            f"{path}: CILIUM_CHART={chart!r}: charts come from {', '.join(REMOTE)} or a local path"
        )
    if local and not Path(chart).exists():
        raise InventoryError(
            f"{path}: CILIUM_CHART={chart!r}: there is no such file or directory",
            hint="A path is relative to the repository's root.",
        )
    if local and Path(chart).is_dir():
        if value:
            raise InventoryError(
                f"{path}: CILIUM_CHART_SHA256 is set, but CILIUM_CHART={chart!r} is a directory, "
                "which has no digest",
                hint="Remove the line; the directory's files are pinned by Git.",
            )
        return ""
    if not value:
        raise InventoryError(
            f"{path}: CNI_INSTALL=helm needs CILIUM_CHART_SHA256, the digest of {chart}",
            hint=f"Get it once from the chart that you trust:\n{_how_to_digest(facts, chart)}",
        )
    if not _SHA256.fullmatch(value):
        raise InventoryError(
            f"{path}: CILIUM_CHART_SHA256={value!r} is no SHA-256 digest (64 hex digits)"
        )
    return value


def _how_to_digest(facts: Mapping[str, str], chart: str) -> str:
    if not chart.startswith(REMOTE):
        return f"sha256sum {chart}"
    version = facts["CILIUM_VERSION"]
    where = chart if is_chart(chart) else f"cilium --repo {chart}"
    return f"helm pull {where} --version {version} && sha256sum *-{version}.tgz"


def is_chart(chart: str) -> bool:
    """Whether a remote address is a chart's own, and not its repository's."""
    return chart.startswith("oci://") or chart.endswith(".tgz")
