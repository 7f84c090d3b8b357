"""Connecting to a libvirt: what is said when that fails."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from talosmake.base.errors import MachineError
from talosmake.machines import connect


def refused(uri: str) -> str:
    with pytest.raises(MachineError) as error:
        connect.connect(uri)
    return str(error.value)


def test_without_libvirt_python_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    said = refused("test:///default")
    assert "libvirt-python is not installed" in said
    assert "apt-get install libvirt-dev" in said


def test_a_libvirt_that_does_not_run(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed")
    said = refused(f"qemu+unix:///system?socket={tmp_path}/none")
    assert "cannot be used: Failed to connect socket" in said
    assert "systemctl enable --now libvirtd" in said


def test_a_libvirt_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed")
    monkeypatch.setattr(connect, "_CONNECT_TIMEOUT", 0.5)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("s")
        silent.listen()
        said = refused(f"qemu+unix:///system?socket={tmp_path}/s")
        assert "does not answer within" in said


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Failed to connect socket to '/run/x': Permission denied", "usermod -aG libvirt"),
        ("authentication unavailable: no polkit agent available", "usermod -aG libvirt"),
        ("Cannot recv data: Host key verification failed.", "accept the host's key"),
        ("Cannot recv data: x@y: Permission denied (publickey).", "ssh-agent"),
        ("Cannot recv data: ssh: connect to host y: refused", "Is libvirt installed"),
        ("unknown", "virsh -c 'qemu:///system' version"),
    ],
)
def test_hints(message: str, hint: str) -> None:
    assert hint in str(connect._connect_error("qemu:///system", message))
