"""Which cluster a machine config is of, with the real talosctl, sops and age."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base.errors import PatchError
from talosmake.inventory import environments
from talosmake.inventory.model import Cluster, Role
from talosmake.patches import layout
from talosmake.render import identity, machine_config
from talosmake.secrets import age, bundles
from talosmake.talos import generate
from tests.project import Project, encrypted

KEY = age.new_key()
BUNDLE = generate.gen_secrets("v1.13")
OTHER = generate.gen_secrets("v1.13")
ENV = "patches/envs/dev"
CLUSTER = Cluster("talos-test", "https://10.9.0.10:6443", "v1.13.0", "v1.13", "1.36.0")
LAYERS = {
    "patches/common.yaml": ("cp_1", "worker_1"),
    "patches/common.sops.yaml": ("cp_1", "worker_1"),
    f"{ENV}/common.yaml": ("cp_1", "worker_1"),
    f"{ENV}/common.sops.yaml": ("cp_1", "worker_1"),
    f"{ENV}/control_planes/common.yaml": ("cp_1",),
    f"{ENV}/workers/common.sops.yaml": ("worker_1",),
    f"{ENV}/workers/worker_1/a.yaml": ("worker_1",),
    f"{ENV}/workers/worker_1/a.sops.yaml": ("worker_1",),
}


@pytest.fixture
def dev(small: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    Path(small.env["SOPS_AGE_KEY_FILE"]).write_bytes(KEY.identity)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    return small


def write(project: Project, path: str, text: str) -> None:
    secret = ".sops." in path
    project.write(path, encrypted(text, KEY.recipient, path) if secret else text)


def rendered(name: str) -> Any:
    environment = environments.load("dev")
    node = next(node for node in environment.nodes if node.name == name)
    return yaml.safe_load(machine_config.render(environment, node).split(b"\n---")[0])


def refused(name: str) -> PatchError:
    with pytest.raises(PatchError) as error:
        rendered(name)
    return error.value


def foreign(role: Role) -> dict[str, Any]:
    """What another cluster's config, the one that a script once wrote, has of its own."""
    config = yaml.safe_load(generate.gen_config(CLUSTER, role, OTHER, []).split(b"\n---")[0])
    del config["machine"]["type"]
    return dict(config)


PLACES = [
    setting.places[0].label for setting in identity._SECRETS if setting is not layout.AESCBC_SECRET
]


@pytest.mark.parametrize("path", LAYERS)
def test_every_layer_is_held_against_the_bundle(dev: Project, path: str) -> None:
    text = "cluster:\n  id: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    write(dev, path, text)
    for name in LAYERS[path]:
        error = refused(name)
        line = "" if ".sops." in path else ":2"
        assert (
            error.message
            == f"{path}{line}: cluster.id is not that of secrets/dev.yaml, for dev/{name}"
        )
        assert "AAAA" not in str(error)


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_held_against_the_bundle(dev: Project, place: str) -> None:
    keys = place.split(".")
    value: Any = foreign(Role.CONTROLPLANE)
    for key in keys:
        value = value[key]
    text: Any = value
    for key in reversed(keys):
        text = {key: text}
    # JSON is YAML, too: it is the config that counts, not how a patch is written.
    dev.patch("dev", "control_planes", "cp_1", yaml.safe_dump(text, default_flow_style=True))
    error = refused("cp_1")
    assert f"{place} is not that of secrets/dev.yaml, for dev/cp_1" in error.message
    assert value not in str(error)
    assert value[:12] not in str(error)


@pytest.mark.parametrize(("role", "node"), [(Role.CONTROLPLANE, "cp_1"), (Role.WORKER, "worker_1")])
def test_whole_config_of_another_cluster_shows_nothing(dev: Project, role: Role, node: str) -> None:
    dev.patch("dev", role.directory, node, yaml.safe_dump(foreign(role)))
    error = refused(node)
    for value in bundles.secret_values(OTHER):
        assert value not in str(error)
    for place in ("machine.token", "machine.ca.crt", "cluster.secret", "cluster.ca.crt"):
        assert f"{place} is not that of secrets/dev.yaml" in error.message


@pytest.mark.parametrize(("role", "node"), [(Role.CONTROLPLANE, "cp_1"), (Role.WORKER, "worker_1")])
def test_whole_config_of_this_cluster_is_let_through(dev: Project, role: Role, node: str) -> None:
    config = yaml.safe_load(generate.gen_config(CLUSTER, role, BUNDLE, []).split(b"\n---")[0])
    own = {"machine": {"token": config["machine"]["token"], "ca": config["machine"]["ca"]}}
    taken = ("id", "secret", "token", "ca", "clusterName", "controlPlane", "aggregatorCA", "etcd")
    own["cluster"] = {key: value for key, value in config["cluster"].items() if key in taken}
    before = rendered(node)
    dev.patch("dev", role.directory, node, yaml.safe_dump(own))
    assert rendered(node) == before


def test_worker_may_be_given_what_the_bundle_has(dev: Project) -> None:
    key = yaml.safe_load(BUNDLE)["certs"]["os"]
    dev.write("patches/common.yaml", yaml.safe_dump({"machine": {"ca": key}}))
    assert rendered("worker_1")["machine"]["ca"] == key


@pytest.mark.parametrize("place", ["cluster.secret", "machine.token", "cluster.id", "machine.ca"])
def test_what_is_deleted_is_missed(dev: Project, place: str) -> None:
    section, key = place.split(".")
    dev.patch("dev", "workers", "worker_1", f"{section}:\n  {key}:\n    $patch: delete\n")
    error = refused("worker_1")
    assert error.message.startswith(f"{ENV}/workers/worker_1/node.yaml:2: {place}")
    assert "is taken away or empty, for dev/worker_1" in error.message


def test_encryption_secret_that_the_bundle_has_not(dev: Project) -> None:
    secret = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    text = f"cluster:\n  aescbcEncryptionSecret: {secret}\n"
    dev.write(f"{ENV}/control_planes/common.yaml", text)
    error = refused("cp_1")
    assert "cluster.aescbcEncryptionSecret is not that of secrets/dev.yaml" in error.message
    assert secret not in str(error)


def test_encryption_secret_that_the_bundle_has(
    dev: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    bundle = yaml.safe_load(BUNDLE)
    del bundle["secrets"]["secretboxencryptionsecret"]  # a bundle has one of the two
    bundle["secrets"]["aescbcencryptionsecret"] = secret
    monkeypatch.setattr(bundles, "bundle_of", lambda _: yaml.safe_dump(bundle).encode())
    text = f"cluster:\n  aescbcEncryptionSecret: {secret}\n"
    dev.write(f"{ENV}/control_planes/common.yaml", text)
    assert rendered("cp_1")["cluster"]["aescbcEncryptionSecret"] == secret


def test_accepted_cas_only_add(dev: Project) -> None:
    crt = yaml.safe_load(OTHER)["certs"]["os"]["crt"]
    text = yaml.safe_dump({"machine": {"acceptedCAs": [{"crt": crt}]}})
    dev.patch("dev", "workers", "worker_1", text)
    assert rendered("worker_1")["machine"]["acceptedCAs"][-1]["crt"] == crt


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("cluster:\n  clusterName: other\n", "cluster.clusterName is not CLUSTER_NAME"),
        (
            "cluster:\n  controlPlane:\n    endpoint: https://10.9.0.99:6443\n",
            "cluster.controlPlane.endpoint is not CLUSTER_ENDPOINT",
        ),
        (
            "cluster:\n  controlPlane: {endpoint: 'https://:7443'}\n",
            "cluster.controlPlane.endpoint",
        ),
    ],
)
def test_name_and_endpoint_are_those_of_cluster_env(dev: Project, text: str, place: str) -> None:
    dev.patch("dev", "workers", "worker_1", text)
    error = refused("worker_1")
    assert place in error.message
    assert f"in {ENV}/cluster.env" in error.hint
    assert "bundle of that cluster" not in error.hint


def test_name_and_endpoint_by_their_facts_are_let_through(dev: Project) -> None:
    text = "cluster:\n  clusterName: ${CLUSTER_NAME}\n  controlPlane:\n"
    before = rendered("worker_1")
    dev.patch("dev", "workers", "worker_1", text + "    endpoint: ${CLUSTER_ENDPOINT}/\n")
    after = rendered("worker_1")
    assert after["cluster"]["controlPlane"]["endpoint"].rstrip("/") == "https://10.9.0.10:6443"
    after["cluster"]["controlPlane"] = before["cluster"]["controlPlane"]
    assert after == before


def test_the_layer_that_has_the_last_word_is_named(dev: Project) -> None:
    dev.write("patches/common.yaml", "cluster:\n  id: one\n")
    dev.write(f"{ENV}/common.yaml", "cluster:\n  id: two\n")
    dev.patch("dev", "workers", "worker_1", "machine: {sysctls: {a: '1'}}\n")
    assert refused("worker_1").message.startswith(f"{ENV}/common.yaml:2: cluster.id")
    own = yaml.safe_load(BUNDLE)["cluster"]["id"]
    dev.write(f"{ENV}/common.yaml", f"cluster:\n  id: {own}\n")
    assert rendered("worker_1")["cluster"]["id"] == own


def test_documents_of_later_contracts_are_held_against_the_bundle() -> None:
    # From contract 1.14 on, what is in machine and cluster so far stands in such documents.
    bundle = {"cluster": {"id": "the-id-of-it", "secret": "the-secret-of-it"}}
    kind = {"kind": "DiscoveryIdentityConfig"}
    place = ("DiscoveryIdentityConfig", "")
    base = {("", ""): {}, place: {**kind, "id": "the-id-of-it", "secret": "the-secret-of-it"}}
    other = {("", ""): {}, place: {**kind, "id": "another", "secret": "the-secret-of-it"}}
    [found] = identity.differences(other, base, bundle, secret=True)
    assert found.label == "DiscoveryIdentityConfig.id"
    assert identity.differences(base, base, bundle, secret=True) == []
    assert len(identity.differences({("", ""): {}}, base, bundle, secret=True)) == 2
    assert identity.differences(other, base, bundle, secret=False) == []
