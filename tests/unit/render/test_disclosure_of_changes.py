"""What a person reviews shows a change, and no secret, however much of a config is encrypted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.artifact import diff as artifact_diff
from talosmake.base import marker
from talosmake.checks import validate
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.patches.patch import parse
from talosmake.render import disclosure, machine_config
from talosmake.render.layers import NodeLayers
from talosmake.report import diff, explain, promote
from talosmake.secrets import age, bundles
from talosmake.talos import generate
from tests.project import CLUSTER_ENV, Project, encrypted

KEY = age.new_key()
BUNDLE = generate.gen_secrets("v1.13")
PASSWORD = "correct-horse-battery-staple"
WIREGUARD = base64.b64encode(bytes(32)).decode()
# All that it sets is secret, but Talos's own words are not, nor the registry that it is for.
AUTH = f"""\
version: v1alpha1
machine:
  type: worker
  files:
    - path: /var/x
      op: create
      content: {PASSWORD}
  network:
    interfaces:
      - interface: wg0
        addresses: [10.9.0.2/32]
        wireguard:
          privateKey: {WIREGUARD}
          peers:
            - publicKey: {WIREGUARD}
              allowedIPs: [0.0.0.0/0]
---
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: ghcr.io
username: puller
password: {PASSWORD}
"""
PATCH = "patches/envs/{}/workers/worker_1/registry.sops.yaml"
CHANGE = [
    "-    image: ghcr.io/siderolabs/installer:v1.13.0",
    "+    image: ghcr.io/siderolabs/installer:v1.13.5",
]
Upgrade = Callable[[], Environment]


@pytest.fixture
def upgrade(small: Project, monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """What makes dev again with the next version of Talos, its configs rendered and validated."""
    Path(small.env["SOPS_AGE_KEY_FILE"]).write_bytes(KEY.identity)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    auth(small, "dev")

    def to_next() -> Environment:
        path = "patches/envs/dev/cluster.env"
        small.write(path, small.read(path).replace("v1.13.0", "v1.13.5"))
        return ready("dev")

    return to_next


def auth(project: Project, env: str) -> None:
    path = PATCH.format(env)
    project.write(path, encrypted(AUTH, KEY.recipient, path))


def ready(env: str) -> Environment:
    environment = environments.load(env)
    for node in environment.nodes:
        machine_config.write_config(environment, node)
        validate.validate_config(environment, node)
    return environment


def config_of(environment: Environment) -> bytes:
    return environment.paths.config(environment.workers[0]).read_bytes()


def assert_shows_the_change_alone(shown: str) -> None:
    changed = [line for line in shown.splitlines() if line.startswith(("+ ", "- "))]
    assert changed == CHANGE
    assert_shows_no_secret(shown)


def assert_shows_no_secret(shown: str) -> None:
    assert not [one for one in (PASSWORD, WIREGUARD, "puller", "10.9.0.2/32") if one in shown]


def test_artifacts(upgrade: Upgrade) -> None:
    members = []
    for made in (partial(ready, "dev"), upgrade):
        environment = made()
        worker = environment.workers[0]
        text = disclosure.shown_text(NodeLayers(environment, worker), config_of(environment))
        assert "username: <redacted>" in text
        members.append({"configs/worker-worker_1.yaml": text.encode()})
    old, new = members
    assert_shows_the_change_alone("\n".join(artifact_diff.markdown({"dev": old}, {"dev": new})))


def test_what_was_last_applied(upgrade: Upgrade) -> None:
    environment = ready("dev")
    worker, config = environment.workers[0], config_of(environment)
    disclosure.write_applied(NodeLayers(environment, worker), config)
    sha256 = hashlib.sha256(config).hexdigest()
    marker.write(environment.paths.applied(worker), step="applied", sha256=sha256)
    found = diff.to_applied(upgrade(), worker)
    assert found.summary == "differs from what was last applied"
    assert_shows_the_change_alone("\n".join(found.lines))


def test_another_environment(small: Project, upgrade: Upgrade) -> None:
    small.environment("prod", cluster_env=CLUSTER_ENV)
    small.node("prod", "workers", "worker_1", "10.9.0.21")
    small.node("prod", "control_planes", "cp_1", "10.9.0.11")
    auth(small, "prod")
    shown = promote.report(upgrade(), ready("prod"))
    assert_shows_the_change_alone(shown.partition("--- prod worker")[2])


def test_explained(upgrade: Upgrade) -> None:
    environment = ready("dev")
    shown = explain.annotated(explain.explain(environment, environment.workers[0]))
    origin = f"  # {PATCH.format('dev')}"
    for line in (
        "    image: ghcr.io/siderolabs/installer:v1.13.0  # (talosctl gen config)",
        f"apiVersion: v1alpha1{origin}",
        f"kind: RegistryAuthConfig{origin}",
        f"name: ghcr.io{origin}",
        f"username: <redacted>{origin}",
    ):
        assert f"\n{line}\n" in shown
    assert_shows_no_secret(shown)


HOSTS = st.from_regex(r"[a-z]{2,8}\.[a-z]{2,6}", fullmatch=True)
PASSWORDS = st.text("ABCDEFGH23456789-_!", min_size=6, max_size=20)


@given(HOSTS, PASSWORDS)
def test_image_of_a_registry_with_a_password(host: str, password: str) -> None:
    text = f"apiVersion: v1alpha1\nkind: RegistryAuthConfig\nname: {host}\npassword: '{password}'\n"
    patch = parse(text, Path("a.sops.yaml"), secret=True)
    known = disclosure.secrets_in([password], [patch])
    images = [f"{host}/siderolabs/installer:v1.{minor}.0" for minor in (13, 14)]
    old, new = (
        disclosure.parsed(f"machine: {{install: {{image: {image}}}}}\n---\n{text}")
        for image in images
    )
    lines = diff.compared(old, known.hides, new, known.hides)
    assert [line for line in lines if line[0] in "+-"] == [
        f"-    image: {images[0]}",
        f"+    image: {images[1]}",
    ]
    shown = disclosure.text(disclosure.redacted(new, known.hides))
    assert f"apiVersion: v1alpha1\nkind: RegistryAuthConfig\nname: {host}\n" in shown
    assert password not in shown
