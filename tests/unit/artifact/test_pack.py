from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from talosmake.artifact import archive, pack, unpack
from talosmake.base import git
from talosmake.base.errors import ArtifactError, InventoryError, NodeError, SecretsError
from talosmake.inventory import environments
from talosmake.inventory.artifact import Artifact, PackedNode
from talosmake.inventory.model import Environment, Node
from talosmake.rollout import turns
from talosmake.secrets import age, bundles
from talosmake.talos.talosctl import CallError, Failure
from tests.project import Project

_RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
_ARTIFACT = Artifact(Path("f"), "", "dev", "talos-test", "", "", False, b"", "", 0, {}, None)


@pytest.fixture
def dev(small: Project) -> Environment:
    small.node("dev", "control_planes", "cp_2", "10.9.0.12")
    return environments.load("dev")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        (_RECIPIENT, [_RECIPIENT]),
        (f" {_RECIPIENT}, {_RECIPIENT},", [_RECIPIENT, _RECIPIENT]),
    ],
)
def test_recipients(dev: Environment, given: str, expected: list[str]) -> None:
    facts = {"ARTIFACT_RECIPIENTS": given}
    assert pack.recipients(replace(dev, facts=facts)) == expected


@pytest.mark.parametrize("given", [_RECIPIENT[:-1], "age1", "AGE-SECRET-KEY-1QQ", "ssh-ed25519 A"])
def test_what_is_no_recipient_is_not_shown(dev: Environment, given: str) -> None:
    with pytest.raises(InventoryError, match="ARTIFACT_RECIPIENTS: one of its 1 is no") as caught:
        pack.recipients(replace(dev, facts={"ARTIFACT_RECIPIENTS": given}))
    assert given == "age1" or given not in str(caught.value)


def test_strict_refuses_lint_findings(dev: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    said = PackedNode("", [], "")
    nodes = {node.config_name: said for node in dev.nodes}
    found = replace(_ARTIFACT, findings=2, nodes=nodes)
    monkeypatch.setattr(unpack, "read", lambda _: found)
    assert unpack.attached(dev, "f", False).artifact == found
    with pytest.raises(ArtifactError, match="f: was made with 2 lint findings, and strict is set"):
        unpack.attached(dev, "f", True)


def test_uncommitted_changes_are_told_and_refused_with_strict(
    dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = {node.config_name: PackedNode("", [], "") for node in dev.nodes}
    warned: list[str] = []
    monkeypatch.setattr(unpack, "warn", warned.append)
    clean = replace(_ARTIFACT, nodes=nodes)
    monkeypatch.setattr(unpack, "read", lambda _: clean)
    unpack.announce(unpack.attached(dev, "f", True))
    assert warned == []
    monkeypatch.setattr(unpack, "read", lambda _: replace(clean, dirty=True))
    unpack.announce(unpack.attached(dev, "f", False))
    said = "f was made from a tree with uncommitted changes, so what it holds is in no commit"
    assert warned == [f"dev: {said}"]
    with pytest.raises(ArtifactError) as caught:
        unpack.attached(dev, "f", True)
    assert caught.value.message == f"{said.replace('f ', 'f: ', 1)}, and strict is set"
    assert "git status" in caught.value.hint


def test_keys_of_all_places_where_sops_looks(
    dev: Environment, here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [age.new_key() for _ in range(3)]
    monkeypatch.setenv("SOPS_AGE_KEY", keys[0].identity.decode())
    here.write("named", keys[1].identity.decode())
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "named")
    here.write("config/sops/age/keys.txt", keys[2].identity.decode())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here.root / "config"))
    for key in keys:
        ciphertext = age.encrypt(b"text", [key.recipient])
        assert age.decrypt(ciphertext, bundles.identities(dev)) == b"text"
    with pytest.raises(SecretsError, match="age cannot decrypt: no identity matched"):
        age.decrypt(ciphertext, [keys[0].identity])
    with pytest.raises(SecretsError, match="age cannot decrypt: "):
        age.decrypt(ciphertext[:-1], [keys[2].identity])
    other = "p" if keys[0].recipient.endswith("q") else "q"
    with pytest.raises(SecretsError, match="age cannot encrypt: ") as caught:
        age.encrypt(b"", [keys[0].recipient[:-1] + other])
    assert keys[0].recipient[:-1] not in str(caught.value)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "gone")
    with pytest.raises(SecretsError, match="gone: cannot be read"):
        bundles.identities(dev)


def test_a_leak_makes_no_artifact() -> None:
    pack.refuse_leaks({"a": b"x: 1\n"}, ["abcdef.0123"])
    with pytest.raises(ArtifactError, match=r"lint\.txt: holds a value of the secrets bundle"):
        pack.refuse_leaks({"a": b"", "lint.txt": b"is abcdef.0123"}, ["abcdef.0123"])


@pytest.mark.parametrize("made", [True, False])
def test_configs_in_which_two_nodes_have_one_name_make_no_artifact_and_are_not_deployed(
    dev: Environment, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    config = b"kind: HostnameConfig\nhostname: same\n"
    names = [node.config_name for node in dev.nodes]
    packed = PackedNode(pack.sha256_of(config), [], "")
    complete = archive.pack({f"{name}.yaml": config for name in names}, 0)
    genuine = replace(
        _ARTIFACT,
        sha256="one name",
        seal="s",
        nodes=dict.fromkeys(names, packed),
        encrypted=complete,
    )
    monkeypatch.setattr(git, "commit", lambda: None)
    monkeypatch.setattr(pack, "validated_config", lambda *_: config)
    monkeypatch.setattr(bundles, "seal", lambda *_: genuine.seal)
    monkeypatch.setattr(bundles, "identities", lambda *_: [b"key"])
    monkeypatch.setattr(age, "decrypt", lambda *_: complete)
    with pytest.raises(InventoryError, match="have the same host name by their machine configs"):
        (pack.make if made else partial(unpack.opened, artifact=genuine))(dev)


class _Api:
    def __init__(self, state: str) -> None:
        self._state = state

    def etcd_state(self) -> str:
        if self._state == "silent":
            raise CallError(Failure.UNREACHABLE, "no answer")
        return self._state.removesuffix(" with data")

    def has_etcd_data(self) -> bool:
        return self._state.endswith(" with data")


@pytest.mark.parametrize(
    ("states", "stops"),
    [
        (("silent", "Running"), True),
        (("silent", "Preparing"), False),
        (("silent", "Preparing with data"), True),
    ],
)
def test_roll_out_without_markers_asks_the_nodes(
    dev: Environment, states: tuple[str, str], stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One control plane at a time where etcd runs, also in a new checkout."""
    by_name = dict(zip(("cp_1", "cp_2"), states, strict=True))

    def api(_: Environment, node: Node) -> _Api:
        return _Api(by_name[node.name])

    monkeypatch.setattr(turns, "secure_api", api)
    monkeypatch.setattr(turns, "connection_error", lambda _: "")
    deployed = replace(dev, artifact=_ARTIFACT)
    first, second = deployed.control_planes
    with pytest.raises(NodeError, match="refused"), turns.turn(deployed, first):
        raise NodeError("refused")
    if stops:
        stopped = pytest.raises(NodeError, match="the roll-out stopped at cp_1")
        with stopped, turns.turn(deployed, second):
            pass
        return
    with turns.turn(deployed, second):
        pass
