from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.render.apply_script import render_apply_script
from tests.golden.conftest import Golden
from tests.project import REPOSITORY

TARGETS = (
    "-n 10.9.0.11 -e 10.9.0.11",
    "-n fd00::12 -e fd00::12",
    "-n 10.9.0.21 -e 192.0.2.21",
    "--insecure -n 192.0.2.21 -e 192.0.2.21",
)


def test_apply_script(awkward: Environment, golden: Golden) -> None:
    golden("apply.sh", render_apply_script(awkward))


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_apply_script_is_short_enough_to_be_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line a node, and the same bytes each time."""
    monkeypatch.chdir(REPOSITORY)
    environment = environments.load(name)
    script = render_apply_script(environment)
    assert len(script.splitlines()) - len(environment.nodes) <= 114
    assert len(script.splitlines()) <= 120
    assert script == render_apply_script(environments.load(name))


def test_apply_script_is_clean_to_bash_and_shellcheck(awkward: Environment) -> None:
    script = render_apply_script(awkward).encode()
    shellcheck = shutil.which("shellcheck")
    assert shellcheck, "shellcheck is missing; 'make test' sets it up"
    # SC2016: the awkward value holds what looks like a command and must not become one.
    for command in (["bash", "-n"], [shellcheck, "--shell=bash", "--exclude=SC2016", "-"]):
        done = subprocess.run(command, input=script, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Applied\n* a warning\n", "Applied\n* a warning\n"),
        ("this can't be applied\ndiff:\n-token: hunter2\n", "this can't be applied\n"),
        ("Applied with a reboot: because\n", "Applied with a reboot\n"),
        (
            "unknown keys found during decoding:\nmachine:\n    a: hunter2\n",
            "unknown keys found during decoding:\n",
        ),
        ("not `hunter2` into bool\n", "not <redacted> into bool\n"),
        ('parse "https://me:hunter/2@x:y": no\n', 'parse "https://<redacted>@x:y": no\n'),
        ('dial "10.9.0.11:50000": refused\n', 'dial "10.9.0.11:50000": refused\n'),
    ],
)
def test_what_a_node_says_is_shown_without_values(
    awkward: Environment, said: str, shown: str
) -> None:
    function = re.search(
        r"^without_values\(\) \{.*?^\}$", render_apply_script(awkward), re.M | re.S
    )
    assert function
    command = ["bash", "-c", f"{function[0]}\nwithout_values"]
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=True)
    assert done.stdout == shown


def test_awkward_values_are_data_and_never_run(awkward: Environment, tmp_path: Path) -> None:
    script = awkward.paths.apply_script
    script.parent.mkdir(parents=True)
    script.write_text(render_apply_script(awkward))
    (script.parent / "talosconfig").write_text("")
    (tmp_path / "talosctl").write_text("#!/bin/sh\necho talosctl is not to be run; exit 1\n")
    (tmp_path / "talosctl").chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/nobody"}
    done = subprocess.run(
        ["bash", script, "--dry-run"], capture_output=True, text=True, env=path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(Path.cwd().rglob("made"))
    fingerprint = awkward.control_planes[0].cert_fingerprint
    assert fingerprint == 'a\'b "c" $(touch made) `touch made` ${HOME} \\ ; # *'
    assert f"--cert-fingerprint {fingerprint}" in done.stdout
    assert all(target in done.stdout for target in TARGETS)
