"""Machine configs of both layouts, as the talosctl of each Talos generates them.

Many tests look into these files; what another talosctl generates shows here first.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from talosmake.inventory.model import Role
from talosmake.talos import generate
from tests import talos_configs
from tests.golden.conftest import Golden


@pytest.mark.parametrize("role", talos_configs.ROLES)
@pytest.mark.parametrize("contract", talos_configs.CONTRACTS)
def test_generated_config(golden: Golden, contract: str, role: str) -> None:
    cluster = talos_configs.cluster(contract)
    bundle = generate.gen_secrets(contract, cluster.talosctl)
    config = generate.gen_config(cluster, Role(role), bundle, [])
    assert generate.validate(config, cluster.talosctl) == ""
    golden(f"talos/{contract}-{role}.yaml", talos_configs.without_secrets(config, bundle))


@pytest.mark.parametrize("role", talos_configs.ROLES)
def test_newer_talosctl_gives_an_older_contract_the_same(golden: Golden, role: str) -> None:
    newer = talos_configs.cluster("v1.14").talosctl
    cluster = replace(talos_configs.cluster("v1.13"), talosctl_version=newer)
    bundle = generate.gen_secrets("v1.13", cluster.talosctl)
    config = generate.gen_config(cluster, Role(role), bundle, [])
    golden(f"talos/v1.13-{role}.yaml", talos_configs.without_secrets(config, bundle))
