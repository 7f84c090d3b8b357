"""Cilium's values and the cluster's subnets."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from talosmake.base.errors import PatchError
from talosmake.checks import lint, lint_rules
from talosmake.inventory import environments
from talosmake.render import cilium, cilium_network, machine_config
from talosmake.render.cilium_network import Subnets
from talosmake.render.layers import NodeLayers
from talosmake.secrets import bundles
from tests.project import Project
from tests.unit.render.test_cilium import HELM, JOB, OWN, dev, inlined, objects

__all__ = ["dev"]
SIX, FOUR = "fd00:10::/56", "10.7.0.0/16"
BOTH = {"ipv6": {"enabled": True}}
ONLY_SIX = {"ipv4": {"enabled": False}, "ipv6": {"enabled": True}}


def network(*pods: str) -> str:
    return yaml.safe_dump({"cluster": {"network": {"podSubnets": list(pods)}}})


@pytest.mark.parametrize(
    ("pods", "values"),
    [((FOUR,), {}), ((FOUR, SIX), BOTH), ((SIX, FOUR), BOTH), ((SIX,), ONLY_SIX), (("x",), {})],
)
def test_values_follow_from_the_pods_subnets(pods: tuple[str, ...], values: Any) -> None:
    assert cilium_network.values_for(Subnets(pods)) == values


@pytest.mark.parametrize(
    "layer",
    [
        "patches/common.yaml",
        "patches/envs/dev/common.yaml",
        "patches/envs/dev/control_planes/common.yaml",
        "patches/envs/dev/control_planes/cp_1/b.yaml",
    ],
)
def test_any_layer_of_the_control_planes_counts(dev: Project, layer: str) -> None:
    dev.environment("dev", f"PODS={SIX}\n", cluster_env=JOB)
    dev.write(layer, network("${PODS}"))
    environment = environments.load("dev")
    assert cilium_network.planned(environment).pods == (SIX,)
    values = yaml.safe_load(objects(inlined()["cilium"])["ConfigMap"]["data"]["values.yaml"])
    assert (values["ipv4"], values["ipv6"]) == ({"enabled": False}, {"enabled": True})
    assert SIX in cilium_network.planned_as_text(environment)


def test_later_layers_replace_and_a_workers_do_not_count(dev: Project) -> None:
    dev.write("patches/common.yaml", network(SIX))
    dev.patch("dev", "control_planes", "cp_1", network(FOUR))
    dev.patch("dev", "workers", "worker_1", network(SIX))
    values = cilium.values_of(environments.load("dev"))
    assert not {"ipv4", "ipv6"} & values.keys()


def test_the_chart_gets_them_as_well(dev: Project) -> None:
    """With CNI_INSTALL=helm."""
    dev.write("charts/cilium/Chart.yaml", "apiVersion: v2\nname: cilium\nversion: 0.1.0\n")
    dev.write(
        "charts/cilium/templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cilium-config\n"
        "data:\n  ipv4: {{ dig 'ipv4' 'enabled' true .Values.AsMap | quote }}\n"
        "  ipv6: {{ dig 'ipv6' 'enabled' false .Values.AsMap | quote }}\n".replace("'", '"'),
    )
    dev.environment("dev", cluster_env=HELM + "CILIUM_CHART=charts/cilium\n")
    for pods, data in (((FOUR, SIX), ("true", "true")), ((SIX,), ("false", "true"))):
        dev.write("patches/common.yaml", network(*pods))
        found = objects(inlined()["cilium"])["ConfigMap"]["data"]
        assert (found["ipv4"], found["ipv6"]) == data


def test_own_values_win_as_long_as_they_fit(dev: Project) -> None:
    """Before pods have IPv6, or with addresses that are not the cluster's."""
    dev.write(OWN, "ipv6: {enabled: true}\nipam: {mode: cluster-pool}\n")
    assert cilium.values_of(environments.load("dev"))["ipv6"] == {"enabled": True}
    inlined()
    dev.write(OWN, "ipv6: {enabled: true}\n")
    with pytest.raises(PatchError, match=r"ipv6\.enabled: must be false"):
        inlined()


@pytest.mark.parametrize("own", ["ipv6: {enabled: false}", "ipv6: {enabled: null}"])
def test_value_against_the_subnets_is_refused(dev: Project, own: str) -> None:
    dev.write("patches/common.yaml", network(FOUR, SIX))
    dev.write(OWN, own)
    with pytest.raises(PatchError) as error:
        inlined()
    assert (
        f"ipv6.enabled: must be true, because podSubnets has an IPv6 subnet ({FOUR}, {SIX})"
    ) in error.value.message
    assert "patches/envs/dev/cilium.yaml" in error.value.hint


def test_encrypted_subnets_are_found_in_the_complete_config(
    dev: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not looked into before the layer is made."""
    dev.write("patches/envs/dev/common.sops.yaml", "sops: {}\n")
    monkeypatch.setattr(bundles, "plaintext_of", lambda *_: network(FOUR, SIX).encode())
    environment = environments.load("dev")
    cilium.write_layer(environment)
    for node in environment.nodes:
        view = lint.node_view(
            NodeLayers(environment, node), machine_config.render(environment, node)
        )
        found = [each.what for each in lint_rules.of_node(view) if each.rule == "cilium-values"]
        assert found == [
            f"ipv6.enabled: must be true, because podSubnets has an IPv6 subnet ({FOUR}, {SIX})"
        ] * (node.name == "cp_1")
    dev.write(OWN, "ipv6: {enabled: true}\n")
    with pytest.raises(PatchError, match="has no IPv6 subnet"):
        inlined()


def test_broken_patches_are_left_to_where_they_are_rendered(dev: Project) -> None:
    dev.write("patches/common.yaml", "a: ${UNKNOWN_NAME} # Subnets\n")
    dev.patch("dev", "control_planes", "cp_1", "Subnets: [\n")
    assert cilium_network.planned(environments.load("dev")) == Subnets()


@pytest.mark.parametrize(
    ("blocks", "useless"),
    [
        ("[{cidr: 10.9.0.0/28}]", True),
        ("[{start: 10.9.0.1, stop: 10.9.0.9}]", True),
        ("[{cidr: 10.9.0.0/28}, {cidr: 'fd00:9::/120'}]", False),
        ("[{start: 'fd00:9::1'}]", False),
        ("[]", False),
    ],
)
def test_pool_of_a_family_that_is_off(blocks: str, useless: bool) -> None:
    kind = "CiliumLoadBalancerIPPool"
    pool = yaml.safe_load(f"kind: {kind}\nmetadata: {{name: lan}}\nspec: {{blocks: {blocks}}}\n")
    said = cilium_network.useless_pool(pool, ONLY_SIX)
    only = "lan: has IPv4 addresses only, and ipv4.enabled is false"
    assert said == (only if useless else "")
    assert cilium_network.useless_pool({**pool, "kind": "ConfigMap"}, ONLY_SIX) == ""
