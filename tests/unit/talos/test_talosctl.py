from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base import talosctls
from talosmake.base.errors import (
    PatchError,
    SecretsError,
    ToolError,
    ToolTimeoutError,
    ValidationError,
)
from talosmake.base.process import Result
from talosmake.inventory.model import Cluster, Role
from talosmake.talos import generate, talosctl
from talosmake.talos.api import MaintenanceApi, Member, NodeApi
from talosmake.talos.talosctl import CallError, EtcdStatus, Failure

RPC = "rpc error: code = Unavailable desc = connection error: desc = "
HANDSHAKE = f'{RPC}"transport: authentication handshake failed: '
CLUSTER = Cluster("talos-test", "https://10.9.0.10:6443", "v1.13.0", "v1.13", "1.36.0")

# What talosctl 1.13.0 wrote, word for word.
MESSAGES = {
    f'error getting version: {RPC}"transport: Error while dialing: dial tcp 127.77.7.1:50000: '
    'connect: connection refused"': Failure.UNREACHABLE,
    f'{RPC}"transport: Error while dialing: dial tcp 10.0.1.11:50000: i/o timeout"': (
        Failure.UNREACHABLE
    ),
    "rpc error: code = DeadlineExceeded desc = context deadline exceeded": Failure.UNREACHABLE,
    f'{RPC}"error reading server preface: EOF"': Failure.UNREACHABLE,
    f"error getting version: {HANDSHAKE}tls: failed to verify certificate: x509: certificate "
    'signed by unknown authority"': Failure.UNKNOWN_AUTHORITY,
    f"{HANDSHAKE}tls: failed to verify certificate: x509: certificate signed by unknown authority "
    '(possibly because of \\"x509: Ed25519 verification failure\\" while trying to verify '
    'candidate authority certificate \\"talos\\")"': Failure.UNKNOWN_AUTHORITY,
    f"error getting resource: {HANDSHAKE}tls: failed to verify certificate: x509: certificate is "
    'valid for 10.0.2.15, 10.5.0.21, 127.0.0.1, ::1, not 127.100.252.21"': (
        Failure.CERTIFICATE_NAME
    ),
    f'{RPC}"error reading server preface: remote error: tls: unknown certificate authority"': (
        Failure.UNKNOWN_AUTHORITY
    ),
    f'{RPC}"error reading server preface: remote error: tls: certificate required"': (
        Failure.CERTIFICATE_REQUIRED
    ),
    f"{HANDSHAKE}tls: failed to verify certificate: x509: certificate has expired or is not yet "
    'valid: current time 2026-01-01T00:00:00Z is before 2026-11-23T18:00:00Z"': (
        Failure.CERTIFICATE_EXPIRED
    ),
    f'{RPC}"error reading server preface: remote error: tls: expired certificate"': (
        Failure.CERTIFICATE_EXPIRED
    ),
    f"error applying new configuration: {HANDSHAKE}leaf peer certificate doesn't match the "
    'provided fingerprints: [abcd]"': Failure.FINGERPRINT,
    "error applying new configuration: 1 error occurred:\n\t* 127.77.0.11: rpc error: code = "
    "InvalidArgument desc = this config change can't be applied in immediate mode\ndiff:\n": (
        Failure.NEEDS_REBOOT
    ),
    "error executing bootstrap: 1 error occurred:\n\t* 127.77.7.1: rpc error: code = AlreadyExists "
    "desc = etcd data directory is not empty\n": Failure.ALREADY_EXISTS,
    "error applying new configuration: rpc error: code = InvalidArgument desc = 1 error occurred:\n"
    "\t* v1alpha1.Config: 4 errors occurred:\n\t* cluster instructions are required\n": (
        Failure.REJECTED
    ),
    "error applying new configuration: rpc error: code = PermissionDenied desc = not authorized": (
        Failure.NOT_AUTHORIZED
    ),
    "rpc error: code = FailedPrecondition desc = etcd is not running": Failure.FAILED_PRECONDITION,
    "rpc error: code = NotFound desc = failed to get: resource "
    "MachineConfigs.config.talos.dev(config/none@undefined) doesn't exist": Failure.NOT_FOUND,
    "failed to load config: yaml: line 1": Failure.OTHER,
    "": Failure.OTHER,
    # Made up: the code counts, and not what a config or a path in its description is called.
    "error applying new configuration: rpc error: code = InvalidArgument desc = 1 error occurred:\n"
    "\t* file /etc/fingerprint/expired certificate.yaml: NotFound\n": Failure.REJECTED,
    "rpc error: code = NotFound desc = resource doesn't match the provided fingerprint": (
        Failure.NOT_FOUND
    ),
    "rpc error: code = PermissionDenied desc = certificate required, InvalidArgument": (
        Failure.NOT_AUTHORIZED
    ),
    "rpc error: code = InvalidArgument desc = open x: this config change can't be applied in "
    "immediate mode.yaml": Failure.REJECTED,
    "rpc error: code = Unimplemented desc = EOF": Failure.REJECTED,
    "rpc error: code = Unknown desc = no such file or directory: fingerprint": Failure.OTHER,
    "rpc error: code = Unknown desc = certificate signed by unknown authority": Failure.OTHER,
    "rpc error: code = Unknown desc = etcd: context deadline exceeded": Failure.UNREACHABLE,
    "rpc error: code = Unavailable desc = anything": Failure.UNREACHABLE,
    "open /home/me/fingerprint/AlreadyExists.yaml: no such file or directory": Failure.OTHER,
}


@pytest.mark.parametrize(("message", "failure"), MESSAGES.items())
def test_messages_are_classified(message: str, failure: Failure) -> None:
    assert talosctl.classify(message) is failure


def test_every_kind_of_failure_has_a_message_here() -> None:
    assert set(MESSAGES.values()) == set(Failure)


Answer = Callable[..., list[tuple[str, ...]]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Let talosctl answer what a test says; returns the list of its calls."""

    def answering(stdout: str = "", stderr: str = "", code: int = 0) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def run(argv: list[str], **_: Any) -> Result:
            calls.append(tuple(argv))
            return Result(code, stdout.encode(), stderr)

        monkeypatch.setattr(talosctl, "run", run)
        monkeypatch.setattr(talosctl, "require", lambda _: "talosctl")
        return calls

    return answering


NODE = NodeApi("10.0.1.11", "192.0.2.11", Path("talosconfig"), 5, talosctls.default())
BARE = MaintenanceApi("10.0.1.11", "", 5, talosctls.default())
COLUMNS = (
    "NODE         ID                 HOSTNAME   PEER URLS                 CLIENT URLS   LEARNER"
)


def member(name: str, learner: str = "false") -> str:
    row = "10.0.1.11    5a2d4f0a1b2c3d4e   {:9}  https://10.0.1.11:2380    https://x     {}"
    return row.format(name, learner)


def test_every_call_is_for_one_node_alone(answer: Answer) -> None:
    calls = answer("kubeconfig")
    NODE.kubeconfig()
    assert calls[0][-6:] == ("--talosconfig", "talosconfig", "-n", "10.0.1.11", "-e", "192.0.2.11")
    calls = answer("")
    BARE.macs()
    assert calls[0][-5:] == ("--insecure", "-n", "10.0.1.11", "-e", "10.0.1.11")


def test_fingerprint_goes_with_apply_only(answer: Answer) -> None:
    calls = answer("")
    pinned = MaintenanceApi("10.0.1.11", "ab12", 5, talosctls.default())
    pinned.macs()
    pinned.apply(b"")
    assert "--cert-fingerprint" not in calls[0]
    assert calls[1][-2:] == ("--cert-fingerprint", "ab12")


def test_etcd_members(answer: Answer) -> None:
    answer("\n".join([COLUMNS, member("cp-1"), member("cp-3", "true")]))
    assert NODE.etcd_members() == [
        Member("5a2d4f0a1b2c3d4e", "cp-1", "10.0.1.11"),
        Member("5a2d4f0a1b2c3d4e", "cp-3", "10.0.1.11", learner=True),
    ]


def test_etcd_member_without_a_name_yet_counts(answer: Answer) -> None:
    answer("\n".join([COLUMNS, member("cp-1"), member("")]))
    assert [member.hostname for member in NODE.etcd_members()] == ["cp-1", ""]


@pytest.mark.parametrize("table", ["", "NODE   ID\n10.0.1.11  5a2d\n"])
def test_unknown_etcd_table_is_an_error(answer: Answer, table: str) -> None:
    answer(table)
    with pytest.raises(CallError, match="unknown table"):
        NODE.etcd_members()


STATUS = (
    "NODE         MEMBER             DB SIZE   IN USE            LEADER             RAFT INDEX   "
    "LEARNER   PROTOCOL   ERRORS"
)


@pytest.mark.parametrize(
    ("leader", "learner", "errors", "trouble"),
    [
        ("716ffa10f969ffc0", "false", "", ""),
        ("0000000000000000", "false", "", "it has no leader"),
        ("716ffa10f969ffc0", "true", "", "it is still a learner"),
        ("716ffa10f969ffc0", "false", "memberID:1 alarm:NOSPACE", "memberID:1 alarm:NOSPACE"),
    ],
)
def test_etcd_trouble(answer: Answer, leader: str, learner: str, errors: str, trouble: str) -> None:
    row = f"10.0.1.11    716ffa10f969ffc0   20 kB     20 kB (100.00%)   {leader}   0            "
    answer(f"{STATUS}\n{row}{learner:10}3.6.9      {errors}\n")
    assert NODE.etcd_status() == EtcdStatus("716ffa10f969ffc0", trouble)


@pytest.mark.parametrize("member", [None, "", "0000000000000000"])
def test_etcd_that_does_not_say_which_member_it_is_is_no_member(
    answer: Answer, member: str | None
) -> None:
    row = f"10.0.1.11    {member or '':19}20 kB     20 kB (100.00%)   716ffa10f969ffc0   0"
    answer(STATUS if member is None else f"{STATUS}\n{row}            false     3.6.9\n")
    with pytest.raises(CallError, match="does not say which member it is"):
        NODE.etcd_status()


def test_all_addresses_of_a_member(answer: Answer) -> None:
    answer(
        "NODE        ID     HOSTNAME   PEER URLS                                        LEARNER\n"
        "10.0.1.11   5a2d   cp-1       https://10.0.1.11:2380,https://[fd00::11]:2380   false\n"
    )
    [member] = NODE.etcd_members()
    assert member == Member("5a2d", "cp-1", "10.0.1.11", False, ("fd00::11",))
    assert member.addresses == ("10.0.1.11", "fd00::11")


def test_name_to_kubernetes(answer: Answer) -> None:
    answer("node: 10.0.1.11\nspec:\n    nodename: cp-1.lan\n    hostnameVersion: '2'\n")
    assert NODE.nodename() == "cp-1.lan"


def test_empty_boot_id_is_none(answer: Answer) -> None:
    """Two empty ones would be the same boot, and one of them another than the one before."""
    answer("\n")
    with pytest.raises(CallError, match="does not tell its boot ID"):
        NODE.boot_id()


@pytest.mark.parametrize(("graceful", "flag"), [(True, "true"), (False, "false")])
def test_reset_keeps_talos_on_the_disk(answer: Answer, graceful: bool, flag: str) -> None:
    calls = answer("")
    NODE.reset(graceful=graceful)
    assert f"--graceful={flag}" in calls[0]
    assert calls[0].count("--system-labels-to-wipe") == 2
    assert {"STATE", "EPHEMERAL", "--reboot", "--wait=false"} <= set(calls[0])


def test_uuid_in_small_letters(answer: Answer) -> None:
    answer("spec:\n    productName: x\n    uuid: 4C4C4544-0042-3510-8052-B4C04F4D3332\n")
    assert NODE.uuid() == BARE.uuid() == "4c4c4544-0042-3510-8052-b4c04f4d3332"
    answer("spec: {}\n")
    assert NODE.uuid() == ""


def test_refusal_to_change_without_a_reboot_shows_no_config(answer: Answer) -> None:
    refusal = "error: code = InvalidArgument desc = this config change can't be applied in "
    answer("", f"{refusal}immediate mode\ndiff:\n-token: hunter2\n", 1)
    with pytest.raises(CallError) as error:
        NODE.apply(b"", "no-reboot")
    assert error.value.failure is Failure.NEEDS_REBOOT
    assert "hunter2" not in str(error.value)
    assert error.value.in_short.endswith("immediate mode")


def test_refusal_of_unknown_keys_shows_no_value(answer: Answer) -> None:
    """As talosctl 1.13.0 passes on what a node answers."""
    answer(
        "",
        "error applying new configuration: 1 error occurred:\n\t* 10.0.1.11: rpc error: code = "
        "InvalidArgument desc = error decoding document /v1alpha1/ (line 1): unknown keys found "
        "during decoding:\nmachine:\n    newKey:\n        password: hunter2\n\n\n\n",
        1,
    )
    calls: list[Callable[[], object]] = [
        lambda: NODE.apply(b"", "auto"),
        lambda: NODE.dry_run(b""),
        lambda: BARE.apply(b""),
    ]
    for call in calls:
        with pytest.raises(CallError) as error:
            call()
        assert error.value.failure is Failure.REJECTED
        assert error.value.message.endswith("found during decoding: machine.newKey.password")
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("NODE     10.0.1.11\nID       etcd\nSTATE    Preparing\nHEALTH   ?\n", "Preparing"),
        ("", ""),
    ],
)
def test_etcd_state(answer: Answer, text: str, state: str) -> None:
    answer(text)
    assert NODE.etcd_state() == state


def test_version_of_the_node_and_not_of_the_client(answer: Answer) -> None:
    answer("Client:\nTalos v1.13.0\nServer:\n\tTag:  v1.12.4\n\tPlatform:  metal\n")
    assert NODE.version() == "v1.12.4 metal"


def test_macs_of_links(answer: Answer) -> None:
    links = "spec:\n  hardwareAddr: 52:54:00:AB:00:11\n  permanentAddr: '52:54:00:ab:00:11'\n---\n"
    answer(links + "spec:\n  hardwareAddr: 00:00:00:00:00:00\n")
    assert NODE.macs() == ["52:54:00:ab:00:11"]


def test_machine_config_is_what_the_node_was_sent(answer: Answer) -> None:
    answer('{"spec": "machine: {}\\n# kept\\n"}')
    assert NODE.machine_config() == b"machine: {}\n# kept\n"


@pytest.mark.parametrize("text", ["", "{}", "[]", "x"])
def test_answer_without_a_machine_config(answer: Answer, text: str) -> None:
    answer(text)
    with pytest.raises(CallError, match="holds no machine config") as error:
        NODE.machine_config()
    assert error.value.failure is Failure.OTHER


def test_answer_to_apply_is_one_line(answer: Answer) -> None:
    answer("", "Applied configuration without a reboot\n\n  * warning\n")
    assert BARE.apply(b"") == "Applied configuration without a reboot; * warning"


def test_error_of_a_call_carries_its_kind(answer: Answer) -> None:
    answer("", "error: code = AlreadyExists desc = etcd data directory is not empty\n", 1)
    with pytest.raises(CallError, match="data directory is not empty") as error:
        NODE.bootstrap()
    assert error.value.failure is Failure.ALREADY_EXISTS


def test_no_answer_in_time_counts_as_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any, **__: Any) -> Result:
        raise ToolTimeoutError("talosctl did not answer within 5 s")

    monkeypatch.setattr(talosctl, "run", late)
    monkeypatch.setattr(talosctl, "require", lambda _: "talosctl")
    with pytest.raises(CallError, match="within 5 s") as error:
        NODE.version()
    assert error.value.failure is Failure.UNREACHABLE


@pytest.mark.parametrize("function", ["require", "run"])
def test_talosctl_that_cannot_be_used_says_nothing_of_the_node(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fails(*_: Any, **__: Any) -> Result:
        raise ToolError("talosctl: version 1.12.0", hint="Run 'make setup'")

    answer("")
    monkeypatch.setattr(talosctl, function, fails)
    for call in (NODE.version, BARE.macs):
        with pytest.raises(ToolError) as error:
            call()
        assert not isinstance(error.value, CallError)
        assert error.value.hint == "Run 'make setup'"


def test_endpoints_replace_what_was_there_and_nodes_go() -> None:
    before = {
        "context": "c",
        "contexts": {"c": {"endpoints": ["1.1.1.1"], "nodes": ["1.1.1.1"], "ca": "QQ=="}},
    }
    text = generate.with_endpoints(yaml.safe_dump(before).encode(), ["10.0.1.11", "10.0.1.12"])
    after = yaml.safe_load(text)
    assert after["context"] == "c"
    assert after["contexts"]["c"] == {"endpoints": ["10.0.1.11", "10.0.1.12"], "ca": "QQ=="}


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return generate.gen_secrets("v1.13")


def test_config_is_the_same_bytes_every_time(bundle: bytes) -> None:
    one, two = (generate.gen_config(CLUSTER, Role.WORKER, bundle, []) for _ in range(2))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    assert generate.validate(one, talosctls.default()) == ""


def test_large_patches_arrive_whole(bundle: bytes) -> None:
    patches = [f"machine:\n  sysctls:\n    x{i}: '{'y' * 100_000}'\n" for i in range(3)]
    config = yaml.safe_load_all(generate.gen_config(CLUSTER, Role.WORKER, bundle, patches))
    sysctls = next(config)["machine"]["sysctls"]
    assert sysctls == {f"x{i}": "y" * 100_000 for i in range(3)}


def test_refusals_are_talosctls_own_words(bundle: bytes) -> None:
    with pytest.raises(PatchError, match="unknown keys found during decoding"):
        generate.gen_config(CLUSTER, Role.WORKER, bundle, ["machine: {nonsense: 1}"])
    with pytest.raises(SecretsError, match="talosctl cannot use the bundle"):
        generate.gen_talosconfig("c", b"- nothing\n", "os:admin", 24)
    with pytest.raises(ValidationError, match="machine"):
        generate.validate(b"machine: {type: worker}\n", talosctls.default())
    with pytest.raises(ToolError, match="talosctl gen secrets: "):
        generate.gen_secrets("nonsense")


def test_etcd_that_is_not_registered_has_no_state(answer: Answer) -> None:
    answer(stderr='error listing services: service "etcd" is not registered on any nodes', code=1)
    assert NODE.etcd_state() == ""


def test_etcd_state_of_a_node_that_refuses_is_an_error(answer: Answer) -> None:
    answer(stderr="rpc error: code = PermissionDenied desc = not authorized", code=1)
    with pytest.raises(CallError, match="not authorized"):
        NODE.etcd_state()


def test_certificate_that_is_new_is_tried_again_until_the_clocks_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose clock is a little behind calls it expired."""
    talosconfig = tmp_path / "talosconfig"
    talosconfig.write_text("")
    answers = [
        Result(
            1, b"", f'{RPC}"error reading server preface: remote error: tls: expired certificate"'
        )
    ] * 2
    calls: list[str] = []

    def run(argv: list[str], **_: Any) -> Result:
        calls.append(argv[1])
        return answers.pop() if answers else Result(0, b"kept", "")

    monkeypatch.setattr(talosctl, "run", run)
    monkeypatch.setattr(talosctl, "require", lambda _: "talosctl")
    monkeypatch.setattr("talosmake.talos.api._BETWEEN", 0.01)
    node = NodeApi("10.0.1.11", "10.0.1.11", talosconfig, 5, talosctls.default())
    assert node.kubeconfig() == b"kept"
    assert len(calls) == 3
    # One that is not new is what it is said to be.
    os.utime(talosconfig, (1, 1))
    answers += [Result(1, b"", f'{RPC}"remote error: tls: expired certificate"')]
    with pytest.raises(CallError) as error:
        node.kubeconfig()
    assert error.value.failure is Failure.CERTIFICATE_EXPIRED
    assert len(calls) == 4
