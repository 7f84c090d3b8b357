"""What lint finds, each mistake a directory below lint/; named as the rule, or more exactly.

It holds the files that differ from valid/, and ``expected``: what is shown. After a change that is
meant: ``UPDATE_GOLDEN=1 pytest tests/errors``, and look at the difference.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from talosmake.checks import lint, lint_rules, network_rules
from talosmake.checks.finding import Finding, by_identity, joined, report
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.render import cilium, machine_config
from talosmake.render.layers import NodeLayers
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests.project import Project

HERE = Path(__file__).parent
CASES = sorted(path.name for path in (HERE / "lint").iterdir())
RULES = [*lint_rules.NODE, *lint_rules.ENVIRONMENT]
SECRET = "hunter"


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return generate.gen_secrets("v1.13")


@pytest.fixture
def valid(project: Project, monkeypatch: pytest.MonkeyPatch, bundle: bytes) -> Project:
    shutil.copytree(HERE / "valid", project.root, dirs_exist_ok=True)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    return project


def found(environment: Environment) -> list[Finding]:
    """What the steps find, without their markers."""
    if environment.cilium:
        cilium.write_layer(environment)
    views = [
        lint.node_view(NodeLayers(environment, node), machine_config.render(environment, node))
        for node in environment.nodes
    ]
    findings = [finding for view in views for finding in lint_rules.of_node(view)]
    findings += lint_rules.of_environment(lint.environment_view(environment))
    return joined(findings, lint_rules.switched_off(environment))


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_valid_has_no_findings(valid: Project, name: str) -> None:
    environment = environments.load(name)
    assert report(environment, found(environment)) == f"{name}: no lint findings"


@pytest.mark.parametrize("name", CASES)
def test_finding(valid: Project, name: str) -> None:
    ignored = shutil.ignore_patterns("expected")
    shutil.copytree(HERE / "lint" / name, valid.root, dirs_exist_ok=True, ignore=ignored)
    environment = environments.load("dev")
    findings = found(environment)
    shown = report(environment, findings)
    if os.environ.get("UPDATE_GOLDEN"):
        (HERE / "lint" / name / "expected").write_text(shown + "\n")
    assert shown == (HERE / "lint" / name / "expected").read_text().rstrip("\n")
    assert SECRET not in shown
    rules = {finding.rule for finding in findings}
    assert any(name.startswith(rule) for rule in rules)

    off = valid.root / environment.env_file
    off.write_text(off.read_text() + f'LINT_OFF="{" ".join(rules)}"\n')
    assert found(environments.load("dev")) == []


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_a_case(rule: str) -> None:
    # Nothing that the pinned talosctl warns of is known; tests/unit has one that is made up.
    assert rule == "talosctl-warning" or any(name.startswith(rule) for name in CASES)


def test_what_the_network_rules_assume_is_what_talosctl_does(valid: Project) -> None:
    """Later layers replace subnets, and these are the defaults: asked of talosctl itself."""

    def rendered() -> tuple[list[str], list[str]]:
        environment = environments.load("dev")
        node = environment.first_control_plane
        config = machine_config.render(environment, node)
        network = by_identity(config)["", ""]["cluster"]["network"]
        view = lint.node_view(NodeLayers(environment, node))
        assumed = [str(subnet) for _, subnet, _ in network_rules.cluster_subnets(view)]
        return assumed, [*network["podSubnets"], *network["serviceSubnets"]]

    assumed, talos = rendered()
    assert assumed == talos == list(network_rules.DEFAULT_SUBNETS.values())
    network = (
        "cluster: {{network: {{podSubnets: [10.{0}.0.0/16], serviceSubnets: [fd0{0}::/108]}}}}"
    )
    valid.patch("dev", "control_planes", "cp_1", network.format(1), name="a.yaml")
    valid.patch("dev", "control_planes", "cp_1", network.format(2), name="b.yaml")
    assumed, talos = rendered()
    assert assumed == talos == ["10.2.0.0/16", "fd02::/108"]


@pytest.mark.parametrize(
    "text",
    [
        "machine: {certSANs: [a], nodeLabels: {a: '', b: 'null'}, sysctls: {a: '${NODE_IP}'}}\n",
        "machine: {kubelet: {image: 'ghcr.io/siderolabs/kubelet:v${KUBERNETES_VERSION}'}}\n",
        "machine: {kubelet: {image: 'example.org:5000/kubelet@sha256:00'}}\n",
        "machine: {install: {image: 'factory.talos.dev/installer/abc:${TALOS_VERSION}'}}\n",
        "machine: {install: {diskSelector: {size: '> 100GB'}}}\n",
        "machine: {nodeLabels: {zone: {$patch: delete}}}\n",
        "machine: {install: {wipe: {$patch: delete}}}\n",
        "machine: {features: {hostDNS: {$patch: delete}}}\n",
        "cluster: {network: {podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12]}}\n",
        "cluster: {network: {podSubnets: [10.7.0.0/16, 'fd00::/48']}}\n",
        "{apiVersion: v1alpha1, kind: HostnameConfig, hostname: a-1.example.org}\n",
        "{apiVersion: v1alpha1, kind: HostnameConfig, $patch: delete}\n",
        "{apiVersion: v1alpha1, kind: LinkConfig, name: e, addresses: [{address: 10.0.1.11/32}],"
        " routes: [{gateway: 10.9.9.1}]}\n",
        "{apiVersion: v1alpha1, kind: LinkConfig, name: e, addresses: [{address: 10.0.1.11/24},"
        " {address: 10.0.1.12/24}], routes: [{gateway: 10.0.1.1}, {gateway: 'fe80::1'}]}\n",
        "{apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 10.0.1.10, link: e}\n",
        "machine: {network: {interfaces: [{interface: e, dhcp: true, vip: {ip: 10.0.1.10}}]}}\n",
        "{apiVersion: v1alpha1, kind: VLANConfig, name: e.5, vlanID: 5, parent: e,"
        " addresses: [{address: 10.5.0.2/24}]}\n",
        "{apiVersion: v1alpha1, kind: LinkConfig, name: e, addresses: [{address: 10.0.1.11/24}]}\n"
        "---\n{apiVersion: v1alpha1, kind: HCloudVIPConfig, name: 192.0.2.1, link: e,"
        " apiToken: a}\n",
        "machine: {network: {interfaces: [{interface: e, addresses: [10.0.1.11/24],"
        " vip: {ip: 192.0.2.1, hcloud: {apiToken: a}}}]}}\n",
        "{apiVersion: v1alpha1, kind: DHCPv4Config, name: e}\n---\n{apiVersion: v1alpha1,"
        " kind: LinkConfig, name: f, addresses: [{address: 10.7.0.2/24}]}\n",
        "{apiVersion: v1alpha1, kind: DHCPv4Config, name: e}\n---\n{apiVersion: v1alpha1,"
        " kind: DHCPv4Config, name: f}\n---\n"
        "machine: {kubelet: {nodeIP: {validSubnets: [10.50.0.0/24]}}}\n",
        "machine: {kubelet: {nodeIP: {validSubnets: [10.0.0.0/8, '!10.0.1.10/32']}}}\n",
    ],
)
def test_no_false_alarm(valid: Project, text: str) -> None:
    valid.patch("dev", "control_planes", "cp_1", text, name="z.yaml")
    assert found(environments.load("dev")) == []


@pytest.mark.parametrize(
    "host",
    [
        *("cp-1", "cp-1.example.org", "10.0.1.11", "[2001:db8::1]", "a.b", "api.example.com"),
        "API.Example.com",
    ],
)
def test_endpoint_that_is_served(valid: Project, host: str) -> None:
    file = "patches/envs/dev/cluster.env"
    valid.write(file, valid.read(file).replace("10.0.1.10", host))
    sans = "cluster: {apiServer: {certSANs: ['2001:db8:0::1', A.b, '*.Example.com']}}\n"
    valid.patch("dev", "control_planes", "cp_1", sans, name="z.yaml")
    assert found(environments.load("dev")) == []


@pytest.mark.parametrize(
    "host", ["example.com", "api.k8s.example.com", "10.0.1.99", "x-example.com"]
)
def test_endpoint_that_a_wildcard_does_not_serve(valid: Project, host: str) -> None:
    file = "patches/envs/dev/cluster.env"
    valid.write(file, valid.read(file).replace("10.0.1.10", host))
    sans = "cluster: {apiServer: {certSANs: ['*.example.com', '*.0.1.99']}}\n"
    valid.patch("dev", "control_planes", "cp_1", sans, name="z.yaml")
    assert [finding.rule for finding in found(environments.load("dev"))] == ["endpoint"]


@pytest.mark.parametrize(
    ("endpoint", "sans", "clean"),
    [
        ("vpn.example.com:50001", "vpn.example.com", True),
        ("vpn.example.com:50001", "'*.example.com'", True),
        ("vpn.example.com:50001", "'${NODE_ENDPOINT_HOST}'", True),
        ("'[2001:DB8::21]:50001'", "'2001:db8:0::21'", True),
        ("vpn.example.com:50001", "'vpn.example.com:50001'", False),
        ("vpn.example.com", "'*.com'", False),
        ("203.0.113.7:50001", "203.0.113.8", False),
    ],
)
def test_node_endpoint_by_name_and_with_a_port(
    valid: Project, endpoint: str, sans: str, clean: bool
) -> None:
    file = "patches/envs/dev/workers/worker_1/node.env"
    valid.write(file, valid.read(file) + f"NODE_ENDPOINT={endpoint}\n")
    text = f"machine: {{certSANs: [{sans}]}}\n"
    valid.patch("dev", "workers", "worker_1", text, name="z.yaml")
    rules = [finding.rule for finding in found(environments.load("dev"))]
    assert rules == ([] if clean else ["node-endpoint"])


def test_two_layers_in_peace(valid: Project) -> None:
    """Lists that Talos replaces or merges, and the same value twice."""
    first = (
        "machine:\n  sysctls: {a: '1', b: '${NODE_IP}'}\n  certSANs: [a]\n"
        "  network:\n    interfaces:\n      - interface: e\n        dhcp: true\n"
        "        vlans:\n          - vlanId: 4\n            addresses: [10.4.0.2/24]\n"
        "cluster:\n  network:\n    podSubnets: [10.7.0.0/16]\n"
    )
    second = first.replace("[a]", "[b]").replace("'${NODE_IP}'", "other").replace("4.0.2", "4.0.3")
    valid.patch("dev", "control_planes", "cp_1", first, name="a.yaml")
    valid.patch("dev", "control_planes", "cp_1", second, name="b.yaml")
    assert found(environments.load("dev")) == []
