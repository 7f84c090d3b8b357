from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.errors import NodeError, PatchError
from talosmake.inventory import environments
from talosmake.inventory.artifact import Artifact, PackedNode
from talosmake.inventory.model import Environment, Node
from talosmake.patches.patch import parse
from talosmake.render import disclosure, layers
from talosmake.render.layers import Layer, NodeLayers
from talosmake.secrets import bundles
from talosmake.talos import api, observe
from talosmake.talos.observe import Observation, State
from talosmake.talos.talosctl import CallError, Failure
from tests.project import Project

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(categories=["L", "N"])),
    lambda values: st.lists(values) | st.dictionaries(st.text("abc", min_size=1), values),
    max_leaves=8,
)


def test_layout_and_comments_make_no_difference() -> None:
    one = b"# made by hand\nmachine:\n    type: worker\n    sysctls: {a: '1'}\n---\nkind: X\n"
    other = b'machine:\n  sysctls:\n    a: "1"\n  type: worker\n---\nkind: X\n'
    assert observe.same_config(one, other)


@pytest.mark.parametrize(
    "other",
    [
        b"machine: {type: controlplane}\n---\nkind: X\n",
        b"machine: {type: worker}\n",
        b"kind: X\n---\nmachine: {type: worker}\n",
        b"machine: {type: worker}\n---\nkind: X\n---\nkind: Y\n",
        b"machine: [\n",
        b"",
    ],
)
def test_other_content_does(other: bytes) -> None:
    assert not observe.same_config(b"machine: {type: worker}\n---\nkind: X\n", other)


def test_what_does_not_parse_is_the_same_as_itself_only() -> None:
    assert observe.same_config(b"a: [", b"a: [")
    assert not observe.same_config(b"a: [", b"b: [")


@given(st.lists(VALUES, min_size=1))
def test_same_documents_in_another_layout_are_the_same(documents: list[Any]) -> None:
    block = yaml.safe_dump_all(documents, sort_keys=True, default_flow_style=False)
    flow = yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=True)
    assert observe.same_config(block.encode(), flow.encode())


def failing(failure: Failure, message: str = "words") -> Callable[[Any], Any]:
    def call(_: Any) -> Any:
        raise CallError(failure, message)

    return call


@pytest.fixture
def dev(small: Project) -> Environment:
    small.node("dev", "workers", "worker_1", "10.9.0.21", "NODE_MAINTENANCE_IP=10.9.0.99\n")
    return environments.load("dev")


@pytest.fixture
def node(dev: Environment, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node at whose address something listens; nothing listens at maintenance addresses."""
    listening = {"10.9.0.11"}
    refused = "connection refused"
    monkeypatch.setattr(observe, "connection_error", lambda a: "" if a in listening else refused)
    return dev.first_control_plane


OTHER_CA = failing(Failure.UNKNOWN_AUTHORITY)
CERTIFICATE = failing(Failure.CERTIFICATE_REQUIRED)
OTHER_NAME = failing(Failure.CERTIFICATE_NAME)
GONE = failing(Failure.UNREACHABLE)
NEVER = failing(Failure.OTHER, "must not be asked")


@pytest.mark.parametrize(
    ("bootstrapped", "secure", "insecure", "state"),
    [
        (True, lambda _: b"config", NEVER, State.RUNNING),
        (True, OTHER_CA, lambda _: [], State.MAINTENANCE),
        (True, OTHER_CA, CERTIFICATE, State.FOREIGN),
        (True, OTHER_NAME, lambda _: [], State.MAINTENANCE),
        (True, OTHER_CA, GONE, State.UNREACHABLE),
        (True, GONE, NEVER, State.UNREACHABLE),
        (False, lambda _: b"config", CERTIFICATE, State.RUNNING),
        (False, NEVER, lambda _: [], State.MAINTENANCE),
        (False, OTHER_CA, CERTIFICATE, State.FOREIGN),
        (False, GONE, CERTIFICATE, State.UNREACHABLE),
        (False, NEVER, GONE, State.UNREACHABLE),
    ],
)
def test_state_of_what_answers(
    dev: Environment,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    bootstrapped: bool,
    secure: Callable[[Any], Any],
    insecure: Callable[[Any], Any],
    state: State,
) -> None:
    if bootstrapped:
        dev.paths.bootstrapped.parent.mkdir(parents=True)
        dev.paths.bootstrapped.touch()
    monkeypatch.setattr(api.NodeApi, "machine_config", secure)
    monkeypatch.setattr(api.MaintenanceApi, "macs", insecure)
    seen = observe.observe(dev, node)
    assert seen.state is state
    assert seen.config == (b"config" if state is State.RUNNING else b"")
    assert seen.detail == ("words" if state in (State.UNREACHABLE, State.FOREIGN) else "")


@pytest.mark.parametrize(
    ("secure", "insecure", "state"),
    [
        (lambda _: b"config", NEVER, State.RUNNING),
        (OTHER_CA, GONE, State.FOREIGN),
        (OTHER_CA, lambda _: [], State.MAINTENANCE),
    ],
)
def test_what_answers_at_another_address_does_not_stand_for_a_node(
    dev: Environment,
    monkeypatch: pytest.MonkeyPatch,
    secure: Callable[[Any], Any],
    insecure: Callable[[Any], Any],
    state: State,
) -> None:
    """Before the bootstrap, too: a machine in maintenance mode there may be any machine."""
    monkeypatch.setattr(observe, "connection_error", lambda _: "")
    monkeypatch.setattr(api.NodeApi, "machine_config", secure)
    monkeypatch.setattr(api.MaintenanceApi, "macs", insecure)
    [apart] = dev.workers
    assert apart.maintenance_address != apart.endpoint
    assert observe.observe(dev, apart).state is state


@pytest.mark.parametrize(
    ("failure", "hint"),
    [
        (Failure.CERTIFICATE_EXPIRED, "rendered_configs/dev/talosconfig: it is lost. Remove it"),
        (Failure.FINGERPRINT, "NODE_CERT_FINGERPRINT in patches/envs/dev/control_planes/cp_1"),
        (Failure.OTHER, ""),
    ],
)
def test_node_that_cannot_be_judged_is_an_error(
    dev: Environment, node: Node, monkeypatch: pytest.MonkeyPatch, failure: Failure, hint: str
) -> None:
    monkeypatch.setattr(api.MaintenanceApi, "macs", CERTIFICATE)
    monkeypatch.setattr(api.NodeApi, "machine_config", failing(failure))
    with pytest.raises(NodeError) as error:
        observe.observe(dev, node)
    assert error.value.message == "dev/cp_1 (10.9.0.11): words"
    assert error.value.hint.startswith(hint)


@pytest.mark.parametrize("bootstrapped", [True, False])
def test_running_node_whose_certificate_lacks_its_endpoint_is_an_error(
    dev: Environment, node: Node, monkeypatch: pytest.MonkeyPatch, bootstrapped: bool
) -> None:
    if bootstrapped:
        dev.paths.bootstrapped.parent.mkdir(parents=True)
        dev.paths.bootstrapped.touch()
    said = "x509: certificate is valid for 10.0.2.15, 127.0.0.1, ::1, not 10.9.0.11"
    lacking = failing(Failure.CERTIFICATE_NAME, said)
    monkeypatch.setattr(api.MaintenanceApi, "macs", CERTIFICATE)
    monkeypatch.setattr(api.NodeApi, "machine_config", lacking)
    with pytest.raises(NodeError) as error:
        observe.observe(dev, node)
    assert error.value.message == f"dev/cp_1 (10.9.0.11): {said}"
    assert "machine.certSANs" in error.value.hint


def test_nothing_that_listens_is_not_asked(
    dev: Environment, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.NodeApi, "machine_config", failing(Failure.OTHER))
    monkeypatch.setattr(api.MaintenanceApi, "macs", failing(Failure.OTHER))
    monkeypatch.setattr(observe, "connection_error", lambda _: "connection refused")
    unreachable = Observation(State.UNREACHABLE, detail="connection refused")
    assert [observe.observe(dev, each) for each in dev.nodes] == [unreachable, unreachable]


def test_maintenance_address_is_asked_where_the_other_is_silent(
    dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = {"10.9.0.21": "refused", "10.9.0.99": ""}
    monkeypatch.setattr(observe, "connection_error", silent.__getitem__)
    monkeypatch.setattr(api.MaintenanceApi, "macs", lambda _: [])
    assert observe.observe(dev, dev.workers[0]).state is State.MAINTENANCE


def test_apis_are_called_with_the_environments_files(dev: Environment) -> None:
    worker = dev.workers[0]
    assert observe.secure_api(dev, worker).talosconfig == dev.paths.talosconfig
    assert observe.secure_api(dev, worker).address == "10.9.0.21"
    assert observe.maintenance_api(dev, worker).address == "10.9.0.99"


CONFIG = b"machine: {env: {a: hunter2hunter2, b: plain-text}}\n"
REFUSED = CallError(Failure.REJECTED, "a: hunter2hunter2 beside b: plain-text")


def encrypting(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    """Let these be the encrypted patches of every node."""
    found = [Layer(parse(text, Path("x.sops.yaml"), secret=True)) for text in texts]
    monkeypatch.setattr(bundles, "bundle_of", lambda _: b"")
    monkeypatch.setattr(layers, "_read_all", lambda _: found)


def told(environment: Environment) -> str:
    """What may be shown of what the node says."""
    return disclosure.answer_about(
        NodeLayers(environment, environment.workers[0]), CONFIG, REFUSED.message
    )


def test_refusal_of_a_config_shows_no_secret_of_it(
    dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypting(monkeypatch, "machine: {env: {a: hunter2hunter2}}")
    error = observe.judged(dev, dev.workers[0], REFUSED, told(dev))
    assert error.message == "dev/worker_1 (10.9.0.21): a: <redacted> beside b: plain-text"
    assert error.hint.startswith("The node checked the config and refused it")


def test_refusal_of_a_config_out_of_an_artifact_shows_none_either(
    dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Git encrypts by now."""
    encrypting(monkeypatch)
    shown = "machine: {env: {a: <redacted>, b: plain-text}}\n"
    packed = Artifact(
        path=Path("a.tar.gz"),
        sha256="",
        environment="dev",
        cluster="",
        commit="",
        version="",
        dirty=False,
        manifest=b"",
        seal="",
        findings=0,
        nodes={"worker-worker_1": PackedNode("", [], shown)},
        encrypted=None,
    )
    deployed = replace(dev, artifact=packed)
    error = observe.judged(deployed, dev.workers[0], REFUSED, told(deployed))
    assert error.message == "dev/worker_1 (10.9.0.21): a: <redacted> beside b: plain-text"


def test_refusal_is_not_shown_where_nobody_knows_what_is_secret(
    dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise PatchError("x.sops.yaml:3:1: not YAML")

    monkeypatch.setattr(layers, "_read_all", broken)
    error = observe.judged(dev, dev.workers[0], REFUSED, told(dev))
    assert error.message == (
        "dev/worker_1 (10.9.0.21): what it says is not shown, as it may hold secrets: "
        "x.sops.yaml:3:1: not YAML"
    )


def test_foreign_machine_is_named_with_what_to_do(dev: Environment) -> None:
    error = observe.foreign(dev, dev.first_control_plane)
    assert "10.9.0.11 belongs to another cluster" in error.message
    assert "nothing was sent" in error.message
    assert "reset --reboot" in error.hint


def test_connection_error_is_in_plain_words(network: str) -> None:
    with socket.create_server((f"{network}.9", 0)) as server:
        port = server.getsockname()[1]
        assert observe.connection_error(f"{network}.9:{port}") == ""
    refused = f"{network}.9:{port}: connection refused"
    assert observe.connection_error(f"{network}.9:{port}") == refused
    assert observe.connection_error(f"{network}.9") == f"{network}.9:50000: connection refused"
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert observe.connection_error(f"localhost:{server.getsockname()[1]}") == ""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        assert observe.connection_error(f"[::1]:{port}") == ""
    assert observe.connection_error(f"[::1]:{port}") == f"[::1]:{port}: connection refused"


def test_connection_error_of_a_name_that_leads_nowhere() -> None:
    assert re.match(
        r"no\.such\.invalid:50001: .*name", observe.connection_error("no.such.invalid:50001")
    )
