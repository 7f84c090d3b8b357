"""Which images nodes get, and registering schematics at a stand-in for the Image Factory."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from talosmake.base import fetch
from talosmake.base.errors import FactoryError, SecretsError
from talosmake.inventory import environments
from talosmake.inventory.schematic import PLAIN, schematic_id
from talosmake.report import schematics
from tests import factory
from tests.factory import Factory
from tests.project import Project

TEXT = (
    "customization:\n  extraKernelArgs: [console=ttyS0] # for the log\n"
    "  systemExtensions:\n    officialExtensions: [siderolabs/i915, siderolabs/gvisor]\n"
)
OTHER = "0b" * 32


@pytest.fixture
def server() -> Iterator[Factory]:
    with factory.running() as running:
        yield running


def show(*, submit: bool = True) -> None:
    schematics.show([environments.load("dev")], submit)


def given(project: Project, url: str, text: str = TEXT) -> str:
    """Have all nodes get a schematic of a factory's; returns its id."""
    project.write("patches/envs/dev/s.yaml", text)
    project.environment("dev", f"TALOS_SCHEMATIC=s.yaml\nIMAGE_FACTORY={url}\n")
    return schematic_id(text, Path("s.yaml"))


def refused() -> FactoryError:
    with pytest.raises(FactoryError) as error:
        show()
    return error.value


def test_nodes_are_listed_by_what_they_get(
    small: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    identifier = given(small, "f.lan:8443")
    small.node("dev", "workers", "worker_2", "10.9.0.22", f"TALOS_SCHEMATIC_ID={OTHER}\n")
    show(submit=False)
    first, second = (part.splitlines() for part in capsys.readouterr().out.split("dev: ")[1:])
    base = f"https://f.lan:8443/image/{identifier}/v1.13.0"
    assert first == [
        "cp_1, worker_1",
        "  schematic   patches/envs/dev/s.yaml",
        f"  id          {identifier}",
        "  extensions  siderolabs/i915, siderolabs/gvisor",
        f"  installer   f.lan:8443/metal-installer/{identifier}:v1.13.0",
        f"  ISO         {base}/metal-amd64.iso",
        f"  disk image  {base}/metal-amd64.raw.zst",
        f"  kernel      {base}/kernel-amd64",
        f"  initramfs   {base}/initramfs-amd64.xz",
    ]
    assert second[0] == "worker_2"
    assert second[1:4] == [
        "  schematic   by its id",
        f"  id          {OTHER}",
        "  extensions  not known here",
    ]


def test_without_a_schematic(small: Project, capsys: pytest.CaptureFixture[str]) -> None:
    show(submit=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dev: cp_1, worker_1"
    assert lines[1:5] == [
        "  schematic   none",
        f"  id          {PLAIN}",
        "  extensions  none",
        "  installer   ghcr.io/siderolabs/installer:v1.13.0",
    ]


def test_a_platform_without_an_iso_has_no_line_for_it(
    small: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    small.environment("dev", "TALOS_PLATFORM=aws\nTALOS_ARCH=arm64\n")
    show(submit=False)
    shown = capsys.readouterr().out
    assert "ISO" not in shown
    assert "/aws-arm64.raw.xz" in shown


def test_each_schematic_is_sent_once_as_it_is_written(
    small: Project, server: Factory, capsys: pytest.CaptureFixture[str]
) -> None:
    identifier = given(small, server.url)
    show()
    assert server.sent == [("/schematics", "application/yaml", TEXT)]
    said = f"patches/envs/dev/s.yaml: registered at {server.host} as {identifier}"
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_the_plain_schematic_is_registered_at_a_factory_of_one_s_own(
    small: Project, server: Factory, capsys: pytest.CaptureFixture[str]
) -> None:
    small.environment("dev", f"IMAGE_FACTORY={server.url}\n")
    show()
    assert len(server.sent) == 1
    assert f"the plain schematic: registered at {server.host} as {PLAIN}\n" in (
        capsys.readouterr().out
    )


def test_the_public_factory_has_the_plain_schematic(
    small: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "post", None)
    small.environment("dev", "TALOS_SECURE_BOOT=true\n")
    show()
    assert "nothing to send" in capsys.readouterr().out.splitlines()[-1]


def test_what_is_given_by_its_id_cannot_be_sent(
    small: Project, server: Factory, capsys: pytest.CaptureFixture[str]
) -> None:
    small.environment("dev", f"IMAGE_FACTORY={server.url}\nTALOS_SCHEMATIC_ID={OTHER}\n")
    show()
    assert server.sent == []
    assert f"{OTHER} is given by its id, without a file: not sent to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            400,
            b"invalid\x1b[31m: no field x\nmore",
            "HTTP 400 Bad Request: invalid [31m: no field x",
        ),
        (401, b"", "HTTP 401 Unauthorized"),
        (502, b"<html>Bad gateway</html>", "HTTP 502 Bad Gateway"),
        (302, b"", "HTTP 302 Found"),
    ],
)
def test_a_factory_that_refuses(
    small: Project, server: Factory, status: int, body: bytes, said: str
) -> None:
    given(small, server.url)
    server.answer = (status, body)
    error = refused()
    assert error.message == f"patches/envs/dev/s.yaml: {server.url}/schematics: {said}"
    assert f"Is {server.host} the Image Factory, and reachable from here?" in error.hint
    assert len(server.sent) == 1


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (f'{{"id": "{OTHER}"}}'.encode(), f"answers with the id {OTHER}"),
        (b"hello", "answers with no schematic's id"),
        (b"[]", "answers with no schematic's id"),
        (b'{"id": null}', "answers with no schematic's id"),
        (b'{"id": ""}', "answers with no schematic's id"),
        (b"\xff", "answers with no schematic's id"),
    ],
)
def test_an_id_that_is_not_ours(small: Project, server: Factory, body: bytes, what: str) -> None:
    identifier = given(small, server.url)
    server.answer = (201, body)
    error = refused()
    assert error.message == (
        f"patches/envs/dev/s.yaml: {server.url}/schematics {what}, and it is {identifier} here"
    )
    assert "TALOS_SCHEMATIC_ID, in place of TALOS_SCHEMATIC" in error.hint


def test_nobody_there(small: Project, server: Factory) -> None:
    given(small, "http://127.0.0.1:1")
    assert "http://127.0.0.1:1/schematics: Connection refused" in refused().message


def test_one_that_does_not_answer(
    small: Project, server: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(small, server.url)
    server.hangs = threading.Event()
    monkeypatch.setattr(schematics, "_TIMEOUT", 0.3)
    assert "timed out" in refused().message


def test_all_are_tried_before_what_failed_is_told(small: Project, server: Factory) -> None:
    given(small, "http://127.0.0.1:1")
    small.environment("prod", f"TALOS_SCHEMATIC=t.yaml\nIMAGE_FACTORY={server.url}\n")
    small.write("patches/envs/prod/t.yaml", "customization: {bootloader: sd-boot}\n")
    small.node("prod", "control_planes", "cp_1", "10.8.0.11")
    loaded = [environments.load(name) for name in ("dev", "prod")]
    with pytest.raises(FactoryError) as error:
        schematics.show(loaded, submit=True)
    assert len(server.sent) == 1
    assert "127.0.0.1:1" in error.value.message
    assert "t.yaml" not in error.value.message


def test_a_secret_is_not_sent(small: Project, server: Factory) -> None:
    secret = "token: " + "abcdef.0123456789abcdef"  # pragma: allowlist secret
    given(
        small,
        server.url,
        f"customization:\n  embeddedMachineConfiguration: |\n    machine:\n      {secret}\n",
    )
    with pytest.raises(SecretsError) as error:
        show()
    assert error.value.message.startswith("patches/envs/dev/s.yaml:4: holds ")
    assert "0123456789abcdef" not in str(error.value)
    assert server.sent == []


def test_one_with_tls_needs_a_ca_that_is_known(
    small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=test"
    pem, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        [*request.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", pem],
        check=True,
        capture_output=True,
    )
    both = tmp_path / "both.pem"
    both.write_bytes(pem.read_bytes() + key.read_bytes())
    with factory.running(both) as server:
        given(small, server.host)
        error = refused()
        assert "certificate verify failed" in error.message
        assert "REQUESTS_CA_BUNDLE" in error.hint
        assert server.sent == []
        # What the hint says is right.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        show()
        assert len(server.sent) == 1
        # Without TLS it does not speak to one that has it.
        given(small, f"http://{server.host}")
        assert "IMAGE_FACTORY without http:// is for one with TLS." in refused().hint
