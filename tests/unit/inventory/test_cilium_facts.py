from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base.errors import InventoryError
from talosmake.inventory import cilium_facts
from talosmake.inventory.model import CniInstall

FILE = Path("cluster.env")
JOB = {"CILIUM_VERSION": "1.20.2"}
DIGEST = "0123456789abcdef" * 4
HELM = {**JOB, "CNI_INSTALL": "helm", "CILIUM_CHART_SHA256": DIGEST}


def test_job_is_the_default() -> None:
    read = cilium_facts.read(JOB, FILE)
    assert read is not None
    assert read.install is CniInstall.JOB
    assert (read.version, read.chart_sha256) == ("1.20.2", "")
    assert read.cli_image.startswith("quay.io/cilium/cilium-cli:v")


def test_none_looks_at_nothing_else() -> None:
    assert cilium_facts.read({"CNI_INSTALL": "none", "CILIUM_VERSION": "?"}, FILE) is None


@pytest.mark.parametrize(
    "image",
    [
        "cilium-cli:v0.19.7",
        "registry.example.org:5000/cilium/cilium-cli:v0.19.7",
        f"quay.io/cilium/cilium-cli@sha256:{DIGEST}",
        f"quay.io/cilium/cilium-cli:v0.19.7@sha256:{DIGEST}",
    ],
)
def test_pinned_images(image: str) -> None:
    read = cilium_facts.read({**JOB, "CILIUM_CLI_IMAGE": image}, FILE)
    assert read is not None
    assert read.cli_image == image


@pytest.mark.parametrize(
    "image",
    [
        "quay.io/cilium/cilium-cli",
        "registry.example.org:5000/cilium-cli",
        "quay.io/cilium/cilium-cli:latest",
        "quay.io/cilium/cilium-cli@sha256:abc",
        "quay.io/cilium/cilium cli:v1",
    ],
)
def test_images_that_are_not_pinned(image: str) -> None:
    with pytest.raises(InventoryError, match="is not pinned"):
        cilium_facts.read({**JOB, "CILIUM_CLI_IMAGE": image}, FILE)


@pytest.mark.parametrize(
    "chart",
    [
        "oci://quay.io/cilium/charts/cilium",
        "https://helm.cilium.io",
        "https://example.org/cilium-1.20.2.tgz",
    ],
)
def test_remote_charts_are_pinned_by_their_digest(chart: str) -> None:
    read = cilium_facts.read({**HELM, "CILIUM_CHART": chart}, FILE)
    assert read is not None
    assert (read.install, read.chart, read.chart_sha256) == (CniInstall.HELM, chart, DIGEST)
    without = {**HELM, "CILIUM_CHART": chart, "CILIUM_CHART_SHA256": ""}
    with pytest.raises(InventoryError, match="needs CILIUM_CHART_SHA256") as error:
        cilium_facts.read(without, FILE)
    assert "helm pull" in error.value.hint
    assert "--version 1.20.2" in error.value.hint


def test_local_charts(tmp_path: Path) -> None:
    facts = {**HELM, "CILIUM_CHART": str(tmp_path), "CILIUM_CHART_SHA256": ""}
    read = cilium_facts.read(facts, FILE)
    assert read is not None
    assert read.chart_sha256 == ""
    archive = tmp_path / "cilium.tgz"
    archive.write_bytes(b"")
    facts["CILIUM_CHART"] = str(archive)
    with pytest.raises(InventoryError, match="needs CILIUM_CHART_SHA256") as error:
        cilium_facts.read(facts, FILE)
    assert f"sha256sum {archive}" in error.value.hint
