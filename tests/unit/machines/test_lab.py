"""QEMU gets the files it is meant to get, wherever the lab and its Python stand."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.machines import lab
from tests.project import Project

# What a directory may be called.
ODD = ["plain", "with space", "a,b", "a,,b", "it's", 'say "so"', "c:d", "100%", "a=b,c", "$HOME"]


@pytest.fixture
def environment(here: Project) -> Environment:
    here.environment("lab", "LAB=true\nNETWORK=10.5.0.0/24\n")
    facts = "NODE_ENDPOINT=127.5.0.11\nNODE_MAC=52:54:00:05:00:11\n"
    here.node("lab", "control_planes", "cp_1", "10.5.0.11", facts)
    return environments.load("lab")


def options(text: str) -> list[str]:
    """QEMU's own reading of a list of options (docs/system: a doubled comma is a comma)."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


@pytest.mark.parametrize("name", ODD)
def test_paths_are_whole(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    place = tmp_path / name
    monkeypatch.setattr(lab, "GUEST", place / "guest")
    monkeypatch.setattr(lab, "STATE", place / "state")
    monkeypatch.setattr(sys, "executable", str(place / "bin/python"))
    argv = lab.command(environment, environment.nodes[0])
    drives = [options(value)[0] for option, value in pairwise(argv) if option == "-drive"]
    assert drives == [
        f"file={place}/guest/image.squashfs",
        f"file={place}/state/lab/cp_1/disk.raw",
    ]
    network = next(value for value in argv if "guestfwd=" in value)
    command = options(network)[-1].partition("-cmd:")[2]
    assert shlex.split(command)[0] == f"{place}/bin/python"
    assert shlex.split(command)[2] == f"{place}/guest/images"


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no QEMU")
@pytest.mark.parametrize("name", ["with space", "a,b", "c:d=e"])
def test_qemu_opens_what_is_meant(tmp_path: Path, name: str) -> None:
    disk = tmp_path / name / "disk.raw"
    disk.parent.mkdir()
    disk.write_bytes(b"\0" * 4096)
    drive = f"file={lab._value(disk)},format=raw,if=none,readonly=on"
    command = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    done = subprocess.run(
        [*command, "-drive", drive, "-monitor", "stdio"],
        input="info block\nquit\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert str(disk) in done.stdout
